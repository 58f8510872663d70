/* The slice viewer of a report: a case's sheets are read into arrays (d, h, w) and cut in three planes. */
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.getElementById("viewer");
  const runs = data.runs.filter((run) => run.cases.length);
  sortable();
  if (!root || !runs.length) return;

  // d runs to the head, h to the back, w to the patient's left; d is drawn upwards.
  const PLANES = [
    { name: "Axial", axis: 0, down: 1, across: 2, up: false, ends: "APRL" },
    { name: "Coronal", axis: 1, down: 0, across: 2, up: true, ends: "SIRL" },
    { name: "Sagittal", axis: 2, down: 0, across: 1, up: true, ends: "SIAP" },
  ];
  const SIDE = 512; // pixels of the longer side of a plane
  const KEYS = [
    ["arrows, PageUp, PageDown, Home, End", "slices of the plane whose slider has the focus"],
    ["N, B", "next case, case before"],
    ["T, P, H", "truth, prediction, heat on and off"],
    ["+, -", "overlays more and less opaque"],
    ["1 to 9", "windows"],
    ["C", "cross on and off"],
  ];
  const state = { run: runs[0], shown: null, layers: {}, at: [0, 0, 0], on: {}, hidden: new Set(), opacity: 0.5,
    low: 0, high: 1, cross: true, asked: 0 };

  // ---- what is on the page ------------------------------------------------------------------------------------------

  const make = (tag, options = {}, ...parts) => {
    const { dataset, ...rest } = options;
    const one = Object.assign(document.createElement(tag), rest);
    Object.assign(one.dataset, dataset || {});
    one.append(...parts);
    return one;
  };
  const labelled = (text, input) => make("label", {}, text + " ", input);
  const button = (text, label, act) => {
    const one = make("button", { type: "button", textContent: text, onclick: act });
    one.setAttribute("aria-label", label);
    return one;
  };
  const bar = (...parts) => make("div", { className: "bar" }, ...parts);

  const runChoice = make("select", { id: "run", onchange: () => choose(runs[runChoice.value], sameCase()) });
  runs.forEach((run, place) => runChoice.append(make("option", { value: place, textContent: run.name })));
  const caseChoice = make("select", { id: "case", onchange: () => choose(state.run, Number(caseChoice.value)) });
  const words = make("p", { className: "words" });
  const windows = make("select", { id: "window", onchange: () => preset(windows.value) });
  const centre = slider("centre", () => byHand());
  const width = slider("width", () => byHand());
  const opacity = slider("opacity", () => { state.opacity = opacity.value / 100; draw(); }, 0, 100, 50);
  const read = make("span", { id: "levels" });
  const overlays = {};
  const looks = { truth: ["Truth (filled)", "Truth (dashed)"], prediction: ["Prediction (outlined)", "Found"], heat: ["Heat"] };
  for (const name of Object.keys(looks)) {
    const box = make("input", { type: "checkbox", checked: true, id: name });
    box.onchange = () => { state.on[name] = box.checked; draw(); };
    const text = make("span");
    overlays[name] = { box, text, label: make("label", {}, box, " ", text) };
    state.on[name] = true;
  }
  const classes = make("fieldset", { id: "classes" });
  const planes = make("div", { className: "planes" });
  const told = make("p", { className: "at" });
  told.setAttribute("aria-live", "polite");
  const help = make("details", { id: "help" }, make("summary", { textContent: "Keys and gestures" }));
  const list = make("dl");
  KEYS.forEach(([key, text]) => list.append(make("dt", { textContent: key }), make("dd", { textContent: text })));
  help.append(list, make("p", { textContent: "Keys work while the focus is in the viewer. Wheel, or a finger moved up " +
    "and down: slices. Click or touch: the cross, and with it the other planes." }));

  for (const plane of PLANES) {
    plane.canvas = make("canvas", { width: SIDE, height: SIDE });
    plane.canvas.setAttribute("role", "img");
    plane.title = make("span");
    plane.input = slider(plane.name.toLowerCase(), () => { state.at[plane.axis] = Number(plane.input.value); draw(); });
    plane.box = make("div", {}, make("label", {}, plane.title, plane.input), plane.canvas);
    plane.box.dataset.plane = plane.name.toLowerCase();
    planes.append(plane.box);
    gestures(plane);
  }
  const runLabel = labelled("Run", runChoice);
  runLabel.hidden = runs.length < 2;
  root.append(
    make("h3", { textContent: "Slice by slice" }),
    bar(runLabel, labelled("Case", caseChoice), button("<", "Case before", () => step(-1)),
      button(">", "Next case", () => step(1))),
    words,
    bar(labelled("Window", windows), labelled("Centre", centre), labelled("Width", width), read),
    bar(...Object.values(overlays).map((one) => one.label), labelled("Opacity", opacity)),
    planes, told, classes, help,
  );
  root.setAttribute("role", "region");
  root.setAttribute("aria-label", "Slice viewer");
  root.hidden = false;
  root.addEventListener("keydown", onKey);
  document.querySelectorAll("button.show").forEach((one) => {
    one.onclick = () => {
      choose(runs.find((run) => run.name === one.dataset.run), Number(one.dataset.place));
      root.scrollIntoView({ block: "start" });
      caseChoice.focus({ preventScroll: true });
    };
  });
  const first = document.querySelector(".stills button.show");
  choose(runs[0], first && first.dataset.run === runs[0].name ? Number(first.dataset.place) : 0);

  function slider(id, act, min = 0, max = 1, value = 0) {
    return make("input", { type: "range", id, min, max, value, step: 1, oninput: act });
  }

  // ---- choosing -----------------------------------------------------------------------------------------------------

  function sameCase() {
    const run = runs[runChoice.value];
    return Math.max(0, run.cases.findIndex((one) => one.name === state.shown.name));
  }

  function step(by) {
    const count = state.run.cases.length;
    choose(state.run, (Number(caseChoice.value) + by + count) % count);
  }

  async function choose(run, place) {
    if (state.run !== run || !caseChoice.options.length) {
      caseChoice.replaceChildren(...run.cases.map((one, k) => make("option", { value: k, textContent: one.name })));
      state.hidden.clear();
    }
    state.run = run;
    runChoice.value = runs.indexOf(run);
    caseChoice.value = place;
    const shown = run.cases[place];
    const asked = ++state.asked;
    const names = Object.keys(shown.pictures);
    const sheets = await Promise.all(names.map((name) => slices(shown.pictures[name], shown)));
    if (asked !== state.asked) return; // another case was asked for meanwhile
    const before = state.shown;
    state.layers = Object.fromEntries(names.map((name, k) => [name, sheets[k]]));
    state.shown = shown;
    const kept = before && before.name === shown.name && String(before.shape) === String(shown.shape);
    if (!kept) state.at = start(shown);
    words.textContent = [shown.text, shown.note].filter(Boolean).join(". ");
    for (const [name, one] of Object.entries(overlays)) {
      one.label.hidden = !(name in state.layers) && !(shown.boxes[name] || []).length;
      one.text.textContent = looks[name][name in state.layers ? 0 : looks[name].length - 1];
    }
    opacity.parentElement.hidden = !Object.keys(overlays).some((name) => name in state.layers);
    listWindows(shown);
    listClasses();
    for (const plane of PLANES) {
      plane.input.max = shown.shape[plane.axis] - 1;
      plane.box.hidden = plane.axis !== 0 && shown.shape[0] === 1; // a picture
    }
    planes.classList.toggle("one", shown.shape[0] === 1);
    draw();
    root.dataset.ready = `${run.name}/${shown.name}`;
  }

  /* The slices of a sheet, (d, h, w) in one array of bytes. */
  async function slices(uri, shown) {
    const picture = new Image();
    picture.src = uri;
    await picture.decode();
    const canvas = make("canvas", { width: picture.width, height: picture.height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    const [depth, height, width_] = shown.shape;
    const bytes = new Uint8Array(depth * height * width_);
    for (let d = 0, k = 0; d < depth; d++) {
      const left = (d % shown.columns) * width_, top = Math.floor(d / shown.columns) * height;
      const { data: pixels } = context.getImageData(left, top, width_, height);
      for (let p = 0; p < pixels.length; p += 4) bytes[k++] = pixels[p];
    }
    return bytes;
  }

  /* Where most is marked (of several such slices the middle one), the middle of the first box, or of the scan. */
  function start(shown) {
    const [depth, height, width_] = shown.shape;
    const box = [...(shown.boxes.truth || []), ...(shown.boxes.prediction || [])][0];
    if (box) return [0, 1, 2].map((a) => Math.min(shown.shape[a] - 1, Math.max(0, Math.floor((box[a] + box[a + 3]) / 2))));
    const layers = ["truth", "prediction"].map((name) => state.layers[name]).filter(Boolean);
    const counts = shown.shape.map((n) => new Float64Array(n));
    for (const layer of layers) {
      for (let d = 0, k = 0; d < depth; d++) for (let h = 0; h < height; h++) for (let w = 0; w < width_; w++, k++) {
        if (layer[k] > 0 && layer[k] < 255) { counts[0][d]++; counts[1][h]++; counts[2][w]++; }
      }
    }
    return counts.map((of) => {
      const most = Math.max(...of), best = [...of.keys()].filter((k) => of[k] === most);
      return best[best.length >> 1];
    });
  }

  function listWindows(shown) {
    const names = Object.keys(shown.presets);
    windows.replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })),
      make("option", { value: "", textContent: "by hand" }));
    const [least, most] = [shown.values[0], shown.values[shown.values.length - 1]];
    for (const input of [centre, width]) input.step = (most - least) / 500;
    [centre.min, centre.max, width.min, width.max] = [least, most, (most - least) / 500, most - least];
    preset(names.includes(state.preset) ? state.preset : names[0]);
  }

  function preset(name) {
    const window_ = state.shown.presets[name];
    if (!window_) return;
    [state.low, state.high, state.preset, windows.value] = [...window_, name, name];
    centre.value = (state.low + state.high) / 2;
    width.value = state.high - state.low;
    draw();
  }

  function byHand() {
    const half = Number(width.value) / 2;
    [state.low, state.high, windows.value] = [Number(centre.value) - half, Number(centre.value) + half, ""];
    draw();
  }

  function listClasses() {
    classes.replaceChildren(make("legend", { textContent: "Labels" }));
    classes.hidden = !state.run.regions.length;
    for (const region of state.run.regions) {
      const box = make("input", { type: "checkbox", checked: !state.hidden.has(region.name) });
      box.onchange = () => { state.hidden[box.checked ? "delete" : "add"](region.name); draw(); };
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = region.colour;
      classes.append(make("label", {}, box, swatch, region.name));
    }
  }

  // ---- drawing ------------------------------------------------------------------------------------------------------

  function draw() {
    const shown = state.shown;
    if (!shown) return;
    const value = values(shown), grey = new Uint8Array(256);
    for (let level = 0; level < 256; level++) {
      grey[level] = 255 * Math.min(1, Math.max(0, (value[level] - state.low) / (state.high - state.low || 1)));
    }
    const regions = state.run.regions.filter((region) => !state.hidden.has(region.name)).map((region) => {
      const member = new Uint8Array(256);
      (shown.regions[region.name] || []).forEach((code) => { member[code] = 1; });
      return { ...region, member, rgb: rgb(region.colour) };
    });
    PLANES.forEach((plane) => drawPlane(plane, shown, grey, regions));
    const digits = (number) => Number(number.toPrecision(4)).toString();
    read.textContent = `${digits(state.low)} to ${digits(state.high)} ${shown.unit}`;
    told.textContent = at(shown, value, digits);
  }

  function drawPlane(plane, shown, grey, regions) {
    const { canvas, axis, down, across, up } = plane;
    const rows = shown.shape[down], columns = shown.shape[across], position = state.at[axis];
    const tall = rows * shown.spacing[down], wide = columns * shown.spacing[across];
    canvas.width = Math.max(1, Math.round(SIDE * wide / Math.max(tall, wide)));
    canvas.height = Math.max(1, Math.round(SIDE * tall / Math.max(tall, wide)));
    const strides = [shown.shape[1] * shown.shape[2], shown.shape[2], 1];
    const index = (row, column) =>
      position * strides[axis] + (up ? rows - 1 - row : row) * strides[down] + column * strides[across];
    const { image, truth, prediction, heat } = state.layers;
    const small = make("canvas", { width: columns, height: rows });
    const pixels = new ImageData(columns, rows);
    for (let row = 0, p = 0; row < rows; row++) for (let column = 0; column < columns; column++, p += 4) {
      const k = index(row, column), g = grey[image[k]];
      let colour = [g, g, g];
      if (heat && state.on.heat) colour = blend(colour, hot(heat[k] / 255), state.opacity * Math.min(1, heat[k] / 64));
      if (truth && state.on.truth) {
        for (const region of regions) if (region.member[truth[k]]) colour = blend(colour, region.rgb, 0.8 * state.opacity);
      }
      [pixels.data[p], pixels.data[p + 1], pixels.data[p + 2], pixels.data[p + 3]] = [...colour, 255];
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    const sx = canvas.width / columns, sy = canvas.height / rows;
    if (prediction && state.on.prediction) {
      for (const region of regions) outline(context, region, (r, c) => region.member[prediction[index(r, c)]], rows, columns, sx, sy);
    }
    boxes(context, plane, shown, rows, sx, sy);
    const place = [(state.at[across] + 0.5) * sx, ((up ? rows - 1 - state.at[down] : state.at[down]) + 0.5) * sy];
    if (state.cross) cross(context, ...place, canvas);
    if (shown.placed) letters(context, plane.ends, canvas);
    plane.input.value = position;
    const text = `${plane.name}, slice ${position + 1} of ${shown.shape[axis]}`;
    plane.title.textContent = text;
    canvas.setAttribute("aria-label", `${shown.name}: ${text}`);
  }

  /* The borders between voxels that belong to a region and such that do not. */
  function outline(context, region, inside, rows, columns, sx, sy) {
    context.beginPath();
    for (let r = 0; r <= rows; r++) for (let c = 0; c <= columns; c++) {
      const here = r < rows && c < columns && inside(r, c);
      if ((c > 0 && r < rows && Boolean(inside(r, c - 1))) !== Boolean(here) && r < rows) {
        context.moveTo(c * sx, r * sy); context.lineTo(c * sx, (r + 1) * sy);
      }
      if ((r > 0 && c < columns && Boolean(inside(r - 1, c))) !== Boolean(here) && c < columns) {
        context.moveTo(c * sx, r * sy); context.lineTo((c + 1) * sx, r * sy);
      }
    }
    context.globalAlpha = Math.min(1, 2 * state.opacity);
    for (const [colour, thick] of [["#000", 4.5], [region.colour, 2.5]]) { // on any grey and any fill
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  function boxes(context, plane, shown, rows, sx, sy) {
    const position = state.at[plane.axis] + 0.5;
    context.lineWidth = 3;
    context.font = "bold 16px system-ui, sans-serif";
    for (const [name, colour, dash] of [["truth", data.true, [8, 5]], ["prediction", data.found, []]]) {
      if (!state.on[name]) continue;
      (shown.boxes[name] || []).forEach((box, k) => {
        if (position < box[plane.axis] || position > box[plane.axis + 3]) return;
        const low = box[plane.down], high = box[plane.down + 3];
        const top = (plane.up ? rows - high : low) * sy, left = box[plane.across] * sx;
        context.strokeStyle = context.fillStyle = colour;
        context.setLineDash(dash);
        context.strokeRect(left, top, (box[plane.across + 3] - box[plane.across]) * sx, (high - low) * sy);
        if (name === "prediction" && shown.scores) context.fillText(shown.scores[k].toFixed(2), left, Math.max(14, top - 5));
      });
    }
    context.setLineDash([]);
  }

  function cross(context, x, y, canvas) {
    context.beginPath();
    for (const [from, to] of [[0, x - 10], [x + 10, canvas.width]]) { context.moveTo(from, y); context.lineTo(to, y); }
    for (const [from, to] of [[0, y - 10], [y + 10, canvas.height]]) { context.moveTo(x, from); context.lineTo(x, to); }
    context.strokeStyle = "rgba(255, 255, 255, .45)";
    context.lineWidth = 1;
    context.stroke();
  }

  function letters(context, ends, canvas) {
    context.font = "bold 18px system-ui, sans-serif";
    context.lineWidth = 3;
    context.strokeStyle = "#000";
    context.fillStyle = "#fff";
    const { width: w, height: h } = canvas;
    [[w / 2 - 6, 18], [w / 2 - 6, h - 6], [5, h / 2 + 6], [w - 18, h / 2 + 6]].forEach(([x, y], k) => {
      context.strokeText(ends[k], x, y);
      context.fillText(ends[k], x, y);
    });
  }

  /* The value that each of 256 levels stands for. */
  function values(shown) {
    const result = new Float64Array(256), { levels } = shown;
    for (let level = 0, k = 0; level < 256; level++) {
      while (k < levels.length - 2 && level > levels[k + 1]) k++;
      const share = (level - levels[k]) / (levels[k + 1] - levels[k]);
      result[level] = shown.values[k] + share * (shown.values[k + 1] - shown.values[k]);
    }
    return result;
  }

  function at(shown, value, digits) {
    const [d, h, w] = state.at, k = (d * shown.shape[1] + h) * shown.shape[2] + w;
    const parts = [`At the cross: ${digits(value[state.layers.image[k]])} ${shown.unit}`.trim()];
    for (const name of ["truth", "prediction"]) {
      const layer = state.layers[name];
      if (!layer) continue;
      const names = state.run.regions.filter((one) => (shown.regions[one.name] || []).includes(layer[k])).map((one) => one.name);
      parts.push(`${name} ${layer[k] === 255 ? "not known" : names.join(" and ") || "background"}`);
    }
    if (state.layers.heat) parts.push(`heat ${(state.layers.heat[k] / 255).toFixed(2)}`);
    return parts.join("; ");
  }

  function blend(below, above, alpha) { return below.map((part, k) => part + alpha * (above[k] - part)); }
  function rgb(colour) { return [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16)); }
  function hot(share) { return [255 * Math.min(1, 2 * share), 255 * Math.max(0, 1.6 * share - 0.6), 90 * (1 - share)]; }

  // ---- hands --------------------------------------------------------------------------------------------------------

  function move(plane, by) {
    const count = state.shown.shape[plane.axis];
    state.at[plane.axis] = Math.min(count - 1, Math.max(0, state.at[plane.axis] + by));
    draw();
  }

  function gestures(plane) {
    const { canvas } = plane;
    let finger = null, travelled = 0, wheeled = 0;
    const aim = (event) => {
      const box = canvas.getBoundingClientRect(), shape = state.shown.shape;
      const inside = (share, n) => Math.min(n - 1, Math.max(0, Math.floor(share * n)));
      const row = inside((event.clientY - box.top) / box.height, shape[plane.down]);
      state.at[plane.down] = plane.up ? shape[plane.down] - 1 - row : row;
      state.at[plane.across] = inside((event.clientX - box.left) / box.width, shape[plane.across]);
      draw();
    };
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      wheeled += event.deltaY;
      if (Math.abs(wheeled) >= 30) { move(plane, wheeled > 0 ? -1 : 1); wheeled = 0; }
    }, { passive: false });
    canvas.addEventListener("mousedown", (event) => event.preventDefault()); // or it would take the focus away again
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      [finger, travelled] = [event.clientY, 0];
      plane.input.focus({ preventScroll: true });
      if (event.pointerType === "mouse") aim(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (finger === null) return;
      if (event.pointerType === "mouse") { aim(event); return; }
      const each = Math.max(4, canvas.getBoundingClientRect().height / state.shown.shape[plane.axis]);
      const steps = Math.trunc((finger - event.clientY) / each);
      travelled += Math.abs(event.clientY - finger);
      if (steps) { move(plane, steps); finger -= steps * each; }
    });
    canvas.addEventListener("pointerup", (event) => {
      if (event.pointerType !== "mouse" && finger !== null && travelled < 6) aim(event);
      finger = null;
    });
    canvas.addEventListener("pointercancel", () => { finger = null; });
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    const names = { t: "truth", p: "prediction", h: "heat" }, key = event.key.toLowerCase();
    const presets = Object.keys(state.shown.presets);
    if (key in names) overlays[names[key]].box.click();
    else if (key === "n") step(1);
    else if (key === "b") step(-1);
    else if (key === "c") { state.cross = !state.cross; draw(); }
    else if (key === "+" || key === "-") {
      opacity.value = Number(opacity.value) + (key === "+" ? 10 : -10);
      opacity.oninput();
    } else if (presets[Number(key) - 1]) preset(presets[Number(key) - 1]);
    else return;
    event.preventDefault();
  }

  // ---- tables -------------------------------------------------------------------------------------------------------

  function sortable() {
    document.querySelectorAll("table.sortable").forEach((table) => {
      const heads = [...table.querySelectorAll("thead th")];
      heads.forEach((head, column) => {
        const press = head.querySelector("button");
        if (!press) return;
        press.onclick = () => {
          const falling = head.getAttribute("aria-sort") === "ascending";
          heads.forEach((other) => other.removeAttribute("aria-sort"));
          head.setAttribute("aria-sort", falling ? "descending" : "ascending");
          const key = (row) => row.children[column].dataset.value;
          const rows = [...table.tBodies[0].rows];
          const numbers = rows.every((row) => key(row) === "" || !Number.isNaN(Number(key(row))));
          rows.sort((a, b) => {
            const [x, y] = [key(a), key(b)];
            if (x === "" || y === "") return (x === "") - (y === ""); // what is not known comes last
            return (falling ? -1 : 1) * (numbers ? x - y : x.localeCompare(y, undefined, { numeric: true }));
          });
          table.tBodies[0].append(...rows);
        };
      });
    });
  }
})();
