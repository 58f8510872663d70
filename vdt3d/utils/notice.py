"""What every result, page and picture says of itself."""

NOTICE = "For research only: not a medical device."
