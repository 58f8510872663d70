"""From a network and a whole scan to labels on the scan's own grid; the network arrives as a callable."""
