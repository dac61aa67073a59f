// Three slices through a point in mm, each sampled voxel by voxel, so that any grid will do.
const PAGE = JSON.parse(document.getElementById("viewers").textContent);
const ACROSS = [[1, 2], [0, 2], [0, 1]]; // The axes of a slice across x, y, z: to the right and upwards.
const NAMES = ["Sagittal", "Coronal", "Axial"];
const ENDS = [["L", "R"], ["P", "A"], ["I", "S"]];
const BOX = PAGE.backdrop.box;

async function unpacked(name) {
  const bytes = Uint8Array.from(atob(document.getElementById(name).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

let brain = null;
async function backdrop() {
  brain ??= unpacked("data-backdrop").then((buffer) => new Uint8Array(buffer));
  return { ...PAGE.backdrop, values: await brain };
}

async function volumeOf(map, grid) {
  const values = new Int16Array(grid.shape[0] * grid.shape[1] * grid.shape[2]);
  if (map.data === null) return { ...grid, values };
  const buffer = await unpacked(`data-${map.data}`);
  const n = buffer.byteLength / 6;
  const gaps = new Uint32Array(buffer, 0, n);
  const levels = new Int16Array(buffer, 4 * n, n);
  for (let i = 0, at = 0; i < n; i++) values[(at += gaps[i])] = levels[i];
  return { ...grid, values };
}

function valueAt(volume, mm) {
  const index = volume.inverse.map((r) => Math.round(r[0] * mm[0] + r[1] * mm[1] + r[2] * mm[2] + r[3]));
  if (index.some((i, axis) => i < 0 || i >= volume.shape[axis])) return 0;
  return volume.values[(index[0] * volume.shape[1] + index[1]) * volume.shape[2] + index[2]];
}

// Colours at 256 steps along a ramp from weak to strong, as bytes.
function ramp(colours) {
  const stops = colours.map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
  return Array.from({ length: 256 }, (_, level) => {
    const at = (level / 255) * (stops.length - 1);
    const i = Math.min(Math.floor(at), stops.length - 2);
    return stops[i].map((v, k) => Math.round(v + (at - i) * (stops[i + 1][k] - v)));
  });
}

// The pixels of a slice, one for each `edge` mm; `paint` gives red, green, blue of a value, or null for none.
function slice(volume, axis, at, edge, paint) {
  const [u, v] = ACROSS[axis];
  const width = Math.round((BOX[u][1] - BOX[u][0]) / edge);
  const height = Math.round((BOX[v][1] - BOX[v][0]) / edge);
  const image = new ImageData(width, height);
  const mm = [0, 0, 0];
  mm[axis] = at;
  for (let row = 0, pixel = 0; row < height; row++) {
    mm[v] = BOX[v][1] - (row + 0.5) * edge;
    for (let column = 0; column < width; column++, pixel += 4) {
      mm[u] = BOX[u][0] + (column + 0.5) * edge;
      const value = valueAt(volume, mm);
      const colour = value && paint(value);
      if (colour) image.data.set([colour[0], colour[1], colour[2], 255], pixel);
    }
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

class Viewer {
  constructor(place, told) {
    this.place = place;
    this.told = told;
    this.grid = PAGE.grids[told.grid];
    this.volumes = new Map();
    this.at = (told.maps[told.shown].at ?? [0, 0, 0]).slice();
    this.canvases = [...place.querySelectorAll("canvas")];
    this.inputs = [...place.querySelectorAll(".at input")];
    this.select = place.querySelector("select");
    this.slider = place.querySelector("input[type=range]");
    this.flipped = place.querySelector("input[type=checkbox]");
    this.select.addEventListener("change", () => this.choose(Number(this.select.value)));
    this.slider.addEventListener("input", () => this.draw());
    this.flipped.addEventListener("change", () => this.draw());
    this.inputs.forEach((input, axis) =>
      input.addEventListener("change", () => {
        const mm = this.at.slice();
        mm[axis] = Number(input.value);
        this.go(mm);
      }),
    );
    this.canvases.forEach((canvas, axis) => {
      const [width, height] = ACROSS[axis].map((across) => BOX[across][1] - BOX[across][0]);
      // Nothing moves when the picture comes.
      canvas.style.aspectRatio = `${width} / ${height}`;
      this.listen(canvas, axis);
    });
    const slices = place.querySelector(".slices");
    [0, 1].forEach((axis) => slices.style.setProperty(`--${"xy"[axis]}`, `${BOX[axis][1] - BOX[axis][0]}fr`));
    place.hidden = false;
  }

  listen(canvas, axis) {
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      this.point(event, canvas, axis);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) this.point(event, canvas, axis);
    });
    canvas.addEventListener("keydown", (event) => {
      const [u, v] = ACROSS[axis];
      const mirror = u === 0 && this.flipped.checked ? -1 : 1;
      const step = {
        ArrowLeft: [u, -mirror],
        ArrowRight: [u, mirror],
        ArrowDown: [v, -1],
        ArrowUp: [v, 1],
        PageDown: [axis, -1],
        PageUp: [axis, 1],
      }[event.key];
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (step) {
        const mm = this.at.slice();
        mm[step[0]] += step[1] * this.grid.edge * (event.shiftKey ? 5 : 1);
        this.go(mm);
      } else if (event.key === "Home" && this.map.at) this.go(this.map.at);
      else return;
      event.preventDefault();
    });
  }

  // On to the voxel under a pointer.
  point(event, canvas, axis) {
    const box = canvas.getBoundingClientRect();
    const [u, v] = ACROSS[axis];
    let right = (event.clientX - box.left) / box.width;
    if (u === 0 && this.flipped.checked) right = 1 - right;
    const mm = this.at.slice();
    mm[u] = BOX[u][0] + right * (BOX[u][1] - BOX[u][0]);
    mm[v] = BOX[v][1] - ((event.clientY - box.top) / box.height) * (BOX[v][1] - BOX[v][0]);
    const edge = this.grid.edge;
    this.go(mm.map((value, i) => (i === axis ? value : Math.round(value / edge) * edge)));
  }

  go(mm) {
    this.at = mm.map((v, axis) => Math.min(Math.max(Number.isFinite(v) ? v : 0, BOX[axis][0]), BOX[axis][1]));
    this.draw();
  }

  get map() {
    return this.told.maps[Number(this.select.value)];
  }

  async choose(number) {
    this.select.value = String(number);
    const map = this.map;
    this.slider.closest("label").hidden = map.cut === null;
    this.slider.max = String(map.top);
    this.slider.step = String(map.step);
    this.slider.value = String(map.cut ?? 0);
    if (!this.volumes.has(number)) this.volumes.set(number, volumeOf(map, this.grid));
    const [volume, behind] = await Promise.all([this.volumes.get(number), backdrop()]);
    if (map !== this.map) return;
    [this.volume, this.behind] = [volume, behind];
    this.ramps = map.colours.map((colours) => (colours.length ? ramp(colours) : null));
    this.scale(map);
    this.draw();
    this.place.dataset.ready = String(number);
  }

  // The colour bar and what its ends stand for.
  scale(map) {
    const [positive, negative] = map.colours;
    const bar = this.place.querySelector(".bar");
    const [low, high] = [-map.top, map.top].map((v) => v.toFixed(map.digits).replace("-", "−"));
    bar.querySelector("i").style.background = `linear-gradient(to right, ${[...negative].reverse().concat(positive)})`;
    const [first, second] = bar.querySelectorAll("span");
    first.textContent = map.sides.length ? `${map.sides[1]} ${low}` : `${map.unit} 0`;
    second.textContent = map.sides.length ? `${high} ${map.sides[0]}` : high;
    bar.hidden = map.data === null;
  }

  draw() {
    if (!this.volume || this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.canvases.forEach((canvas, axis) => this.paint(canvas, axis));
      this.read();
    });
  }

  paint(canvas, axis) {
    const [u, v] = ACROSS[axis];
    const map = this.map;
    const [width, height] = [BOX[u][1] - BOX[u][0], BOX[v][1] - BOX[v][0]];
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    canvas.height = Math.round((canvas.width * height) / width);
    const pen = canvas.getContext("2d");
    const mirrored = u === 0 && this.flipped.checked;
    const cut = map.cut === null ? 0 : Number(this.slider.value);
    const grey = (value) => Array(3).fill((value / this.behind.top) * 196);
    const hue = (value) => {
      const size = Math.abs(value) * map.step;
      const colours = this.ramps[value > 0 ? 0 : 1];
      return size < cut || !colours ? null : colours[Math.min(255, Math.round((size / map.top) * 255))];
    };
    pen.save();
    if (mirrored) pen.setTransform(-1, 0, 0, 1, canvas.width, 0);
    pen.drawImage(slice(this.behind, axis, this.at[axis], 2, grey), 0, 0, canvas.width, canvas.height);
    pen.imageSmoothingEnabled = false;
    const edge = Math.min(2, this.grid.edge);
    pen.drawImage(slice(this.volume, axis, this.at[axis], edge, hue), 0, 0, canvas.width, canvas.height);
    pen.restore();
    const scale = canvas.width / width;
    const x = (mirrored ? BOX[u][1] - this.at[u] : this.at[u] - BOX[u][0]) * scale;
    const y = (BOX[v][1] - this.at[v]) * scale;
    this.cross(pen, x, y, canvas);
    pen.font = `${Math.round(13 * devicePixelRatio)}px system-ui, sans-serif`;
    pen.fillStyle = "#fff";
    const [left, right] = mirrored ? [...ENDS[u]].reverse() : ENDS[u];
    pen.textBaseline = "top";
    pen.fillText(left, 6, 6);
    pen.textAlign = "right";
    pen.fillText(right, canvas.width - 6, 6);
    const where = `${"xyz"[axis]} = ${this.at[axis].toFixed(0).replace("-", "−")}`;
    pen.textBaseline = "bottom";
    pen.fillText(where, canvas.width - 6, canvas.height - 4);
    canvas.setAttribute("aria-label", `${NAMES[axis]} slice of ${this.told.name}, ${where} mm`);
  }

  // A cross with a gap, so that it does not hide what it points at.
  cross(pen, x, y, canvas) {
    const gap = 7 * devicePixelRatio;
    pen.strokeStyle = "#fff";
    pen.lineWidth = devicePixelRatio;
    pen.globalAlpha = 0.75;
    pen.beginPath();
    for (const side of [-1, 1]) {
      pen.moveTo(x + side * gap, y);
      pen.lineTo(side < 0 ? 0 : canvas.width, y);
      pen.moveTo(x, y + side * gap);
      pen.lineTo(x, side < 0 ? 0 : canvas.height);
    }
    pen.stroke();
    pen.globalAlpha = 1;
  }

  read() {
    const map = this.map;
    this.inputs.forEach((input, axis) => (input.value = String(Math.round(this.at[axis] * 10) / 10)));
    const value = valueAt(this.volume, this.at) * map.step;
    const shown = value.toFixed(map.digits).replace("-", "−");
    const nothing = map.cut === null ? "does not survive, or outside" : "0 or less, or outside";
    const none = map.sides.length && map.cut !== null ? "0, or outside" : nothing;
    this.place.querySelector("output.value").textContent = `${map.unit}: ${value ? shown : none}`;
    const cut = Number(this.slider.value).toFixed(map.digits);
    this.place.querySelector("output.cut").textContent = cut;
  }
}

const viewers = new Map();
function viewerOf(number) {
  const place = document.querySelector(`[data-viewer="${number}"]`);
  if (!viewers.has(place)) viewers.set(place, new Viewer(place, PAGE.viewers[number]));
  return viewers.get(place);
}

// Nothing is unpacked before it is looked at.
const near = new IntersectionObserver(
  (seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      const viewer = viewerOf(target.dataset.viewer);
      if (!viewer.volume) viewer.choose(viewer.told.shown);
    }
  },
  { rootMargin: "300px" },
);
const resized = new ResizeObserver((seen) => seen.forEach(({ target }) => viewers.get(target)?.draw()));

// A row of a table goes to its place: by its number, a button, or by a click anywhere in it.
function goesToItsPlace(row) {
  const [number, map, ...mm] = row.dataset.at.split(" ").map(Number);
  const cell = row.cells[row.closest("table").dataset.go];
  const button = document.createElement("button");
  button.type = "button";
  button.className = "go";
  button.title = "Show in the slices";
  button.append(...cell.childNodes);
  cell.append(button);
  row.addEventListener("click", async (event) => {
    // Text that was marked with the mouse is wanted itself.
    if (event.detail && String(getSelection())) return;
    for (const other of document.querySelectorAll("tr[aria-current]")) other.removeAttribute("aria-current");
    row.setAttribute("aria-current", "true");
    const viewer = viewerOf(number);
    near.unobserve(viewer.place);
    viewer.at = mm;
    await viewer.choose(map);
    viewer.place.scrollIntoView({ block: "nearest" });
  });
}

// The pictures stay open where the slices cannot be shown.
if ("DecompressionStream" in self) {
  for (const place of document.querySelectorAll("[data-viewer]")) {
    viewerOf(place.dataset.viewer);
    near.observe(place);
    resized.observe(place);
  }
  document.querySelectorAll("tr[data-at]").forEach(goesToItsPlace);
  for (const details of document.querySelectorAll("details.picture")) details.open = false;
}
