/* Players of molecules (3Dmol.js) with plots of their quantities (Plotly). One global: nnpipe. */
"use strict";
const nnpipe = (() => {
  const ELEMENTS = {
    H: 0xf2f4f6, C: 0x7b8590, N: 0x3f6fe0, O: 0xe0342f, F: 0x4fb84a, P: 0xf08a1d, S: 0xe3c229,
    Cl: 0x3cb043, Br: 0x9c3a2c, I: 0x7d3c98,
  };
  const OTHER_ELEMENT = 0xb76fb0;
  const SPHERE_SCALE = 0.24, STICK_RADIUS_A = 0.13;
  const FRAMES_PER_SECOND = 25; // at speed 1
  const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
  const SPIN_DEGREES_PER_SECOND = 24;
  const VIBRATION_SECONDS = 1.1; // of one period of a normal mode
  const VIBRATION_A = 0.45; // amplitude of the atom that moves most
  const AHEAD = "250px"; // how far below the window a player is made
  const TRACE_MARGIN = { l: 58, r: 8, t: 6, b: 40 }; // pixels around the plots of a trajectory
  const SPIN_MS = 30; // between turns
  const SOFTWARE = /swiftshader|llvmpipe|software|basic render/i; // names of renderers without a GPU
  const FAINT = 0.1; // share of the largest value of a colour: no atom of the frame has more
  const MEASURES = ["", "", "distance", "angle", "torsion"];
  const PLAY = '<svg viewBox="0 0 14 14" aria-hidden="true"><path d="M2.5 1v12l10-6z"/></svg>';
  const PAUSE = '<svg viewBox="0 0 14 14" aria-hidden="true"><path d="M2 1h3.6v12H2zM8.4 1H12v12H8.4z"/></svg>';
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // ---- data

  /** Return the values of an array of the Python module trajectory; NaN where one is missing. */
  function decode(array) {
    const bytes = Uint8Array.from(atob(array.base64), (letter) => letter.charCodeAt(0));
    const kinds = { int16: Int16Array, int32: Int32Array, float32: Float32Array };
    const stored = new kinds[array.type](bytes.buffer);
    if (array.type === "float32") return stored;
    const missing = array.type === "int16" ? -(2 ** 15) : -(2 ** 31);
    return Float32Array.from(stored, (value) => (value === missing ? NaN : value * array.scale));
  }

  const plain = (values) => Array.from(values, (value) => (Number.isFinite(value) ? value : null));

  // ---- page

  function make(tag, className, content) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (content !== undefined) element.textContent = content;
    return element;
  }

  /** Return the colour of the CSS variable --nn-{name} as "rgb(...)", in the scheme of the page. */
  function colour(name) {
    const probe = document.body.appendChild(make("span"));
    probe.style.color = `var(--nn-${name})`;
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  const channels = (name) => colour(name).match(/[\d.]+/g).slice(0, 3).map(Number);

  const unseen = new Set(); // functions that make what is made when it is seen

  /** Call `start` once, when the element is about to be seen or, with `inPrint`, the page is printed. */
  function whenSeen(element, start, inPrint = true) {
    let done = false;
    const go = () => {
      if (done) return;
      done = true;
      watcher.disconnect();
      unseen.delete(go);
      start();
    };
    const watcher = new IntersectionObserver(
      (seen) => seen.some((one) => one.isIntersecting) && go(), { rootMargin: AHEAD },
    );
    watcher.observe(element);
    if (inPrint) unseen.add(go);
  }

  const themed = new Set(); // functions to call when the scheme of the page changes
  const recolour = () => themed.forEach((change) => change());
  dark.addEventListener("change", recolour);
  new MutationObserver(recolour).observe(document.documentElement, {
    attributes: true, attributeFilter: ["data-theme"],
  });

  // ---- print: a still picture of each molecule, plots that fit the paper, light colours

  const waiting = new Map(); // element: function that returns data, options and frame of its player
  const shown = new Set(); // functions that draw a still picture of a player, false if it is gone
  let pencil = null, afterPrint = [];

  /** Show the player of about(), {data, options, frame}, in print if `element` has none then. */
  const printed = (element, about) => waiting.set(element, about);

  function fitPaper(place) {
    const container = place.querySelector(".svg-container");
    if (!container) return;
    const { clientWidth: width, clientHeight: height } = container;
    place.classList.add("nnpipe-fits");
    place.style.setProperty("--nn-aspect", `${width} / ${height}`);
    place.querySelectorAll(".main-svg").forEach((one) => {
      one.setAttribute("viewBox", `0 0 ${width} ${height}`);
      afterPrint.push(() => one.removeAttribute("viewBox"));
    });
    afterPrint.push(() => place.classList.remove("nnpipe-fits"));
  }

  window.addEventListener("beforeprint", () => {
    for (const [element, about] of waiting) {
      if (element.querySelector(".nnpipe-parts")) continue;
      const { data, options, frame } = about();
      const made = player(element, data, { ...options, autoplay: false, spin: false, still: true });
      if (frame) made.setFrame(frame);
      afterPrint.push(() => {
        element.querySelectorAll(".js-plotly-plot").forEach((place) => Plotly.purge(place));
        element.replaceChildren();
      });
    }
    unseen.forEach((go) => go());
    shown.forEach((draw) => draw() || shown.delete(draw));
    document.querySelectorAll(".nnpipe-plot").forEach(fitPaper);
  });
  window.addEventListener("afterprint", () => {
    afterPrint.forEach((undo) => undo());
    afterPrint = [];
    pencil?.getCanvas().getContext("webgl2")?.getExtension("WEBGL_lose_context")?.loseContext();
    pencil?.container.remove();
    pencil = null;
  });

  /** Return one viewer, outside the page, that draws all still pictures. */
  function stillViewer() {
    if (pencil) return pencil;
    const place = document.body.appendChild(make("div", "nnpipe-pencil"));
    pencil = $3Dmol.createViewer(place, {
      backgroundAlpha: 0, backgroundColor: "white", antialias: true, disableFog: true,
    });
    pencil.setBackgroundColor(0xffffff, 0);
    return pencil;
  }

  let webgl, upscale = true; // drawn at double resolution, unless a processor has to draw
  function hasWebGL() {
    if (webgl === undefined) {
      const context = document.createElement("canvas").getContext("webgl2");
      webgl = Boolean(context) && typeof $3Dmol !== "undefined";
      const names = context?.getExtension("WEBGL_debug_renderer_info");
      upscale = !(names && SOFTWARE.test(context.getParameter(names.UNMASKED_RENDERER_WEBGL)));
      context?.getExtension("WEBGL_lose_context")?.loseContext();
    }
    return webgl;
  }

  // ---- plots

  /** Return the layout of a plot in the colours of the page. */
  function theme() {
    const [text, muted, line] = ["text", "muted", "line"].map(colour);
    const axis = {
      gridcolor: line, linecolor: line, zeroline: false, tickfont: { color: muted },
      title: { font: { color: text, size: 12 }, standoff: 8 },
    };
    return {
      axis,
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: text },
        margin: { l: 60, r: 12, t: 12, b: 44 },
        hoverlabel: {
          bgcolor: colour("raised"), bordercolor: line, font: { color: text, size: 12 },
        },
        legend: { bgcolor: "rgba(0,0,0,0)", font: { color: text } },
      },
    };
  }

  /**
   * Draw a plot that is made when it is seen and drawn again when the colours of the page change.
   *
   * build({axis, colour, layout}) returns {data, layout}: axes may start from `axis`, the layout is
   * put on top of `layout`. `ready(element)` is called after the first drawing.
   */
  function plot(element, build, ready) {
    element.classList.add("nnpipe-plot");
    const draw = () => {
      const { axis, layout } = theme();
      const built = build({ axis, colour, layout });
      return Plotly.react(element, built.data, { ...layout, ...built.layout }, {
        responsive: true, displaylogo: false, displayModeBar: false,
        ...built.config,
      });
    };
    whenSeen(element, () => draw().then(() => {
      themed.add(() => element.isConnected && draw());
      if (ready) ready(element);
    }));
  }

  // ---- player

  /**
   * Show a structure or a trajectory in `element`.
   *
   * data: of nnpipe.viewer.player in Python. options: colour (name of a quantity), autoplay, spin,
   * speed, traces (true, false or an element), height (CSS), title, labels (of atoms), highlight
   * (numbers of bonded atoms, which are marked).
   */
  function player(element, data, options = {}) {
    const count = data.symbols.length;
    const positions = decode(data.positions);
    const frames = positions.length / (3 * count);
    const times = data.times && decode(data.times);
    const traces = data.traces && frames > 1 ? data.traces : null;
    const traceValues = {};
    for (const [name, one] of Object.entries(traces?.quantities || {})) {
      traceValues[name] = decode(one.values);
    }
    const modes = data.modes && decode(data.modes);
    const quantities = {};
    const listeners = [];
    const picked = []; // atoms of the measurement
    const state = {
      frame: 0, clock: 0, playing: false, spin: Boolean(options.spin) && !calm.matches, measuring: false,
      speed: options.speed || 1, colour: "element", mode: null, phase: 0, visible: false,
      before: 0, ticking: false, turn: 0, turned: 0, labelled: Boolean(options.labels),
    };
    const highlight = options.highlight || [];
    let viewer = null, model = null, atoms = [], drawn = [], cell = [], labels = [], moveCursor = null;

    // -- elements of the page
    element.classList.add("nnpipe-player");
    element.setAttribute("role", "group");
    const title = options.title ?? data.title ?? "";
    element.setAttribute("aria-label", `Molecule ${title || data.formula}`);
    element.querySelectorAll(":scope > .nnpipe-parts").forEach((old) => old.remove());
    const parts = element.appendChild(make("div", "nnpipe-parts"));
    const view = parts.appendChild(make("div", "nnpipe-view"));
    const stage = view.appendChild(make("div", "nnpipe-stage"));
    if (options.height) stage.style.setProperty("--nn-height", options.height);
    const canvas = stage.appendChild(make("div", "nnpipe-canvas"));
    const paper = stage.appendChild(make("canvas", "nnpipe-still"));
    const top = stage.appendChild(make("div", "nnpipe-top"));
    const readout = top.appendChild(make("p", "nnpipe-readout"));
    if (title) readout.appendChild(make("span", "nnpipe-title", title));
    const values = ["time", "temperature", "energy"].map(() => readout.appendChild(make("span")));
    values[2].title = "potential energy relative to the first frame";
    const hint = stage.appendChild(make("span", "nnpipe-hint"));
    const legend = view.appendChild(make("div", "nnpipe-legend"));

    const line = view.appendChild(make("div", "nnpipe-controls"));
    const playButton = line.appendChild(make("button", "nnpipe-play"));
    const slider = line.appendChild(make("input"));
    slider.type = "range";
    slider.min = 0;
    slider.max = frames - 1;
    slider.value = 0;
    slider.setAttribute("aria-label", "Frame");
    const now = line.appendChild(make("output"));
    const speedSelect = line.appendChild(make("select"));
    speedSelect.setAttribute("aria-label", "Speed");
    line.hidden = frames < 2;

    const row = view.appendChild(make("div", "nnpipe-controls"));
    const colourLabel = row.appendChild(make("label", "", "Colour"));
    const colourSelect = colourLabel.appendChild(make("select"));
    const buttons = row.appendChild(make("span", "nnpipe-buttons"));
    row.hidden = options.controls === false;
    const button = (text, action) => {
      const made = buttons.appendChild(make("button", "", text));
      made.type = "button";
      made.addEventListener("click", action);
      return made;
    };
    playButton.type = "button";
    const spinButton = button("Spin", () => spin(!state.spin));
    const measureButton = button("Measure", () => measure(!state.measuring));
    const labelsButton = button("Labels", () => label(!state.labelled));
    labelsButton.title = "Elements and numbers of the atoms, from 0";
    button("Reset", () => resetView()).title = "Reset the view";
    for (const [name, label] of [
      ["element", "element"],
      ...Object.entries(data.colours || {}).map(([key, one]) => [key, one.short || one.label]),
    ]) colourSelect.add(new Option(label, name));
    colourLabel.hidden = colourSelect.length < 2;
    for (const speed of SPEEDS) speedSelect.add(new Option(`${speed}×`, speed));
    speedSelect.value = state.speed;
    if (times) {
      const span = (times[frames - 1] - times[0]) / (frames - 1) * FRAMES_PER_SECOND;
      speedSelect.title = `Speed: at 1×, a second shows ${span.toPrecision(2)} ps`;
    }

    // -- what is drawn

    const timeText = (frame) => {
      if (data.labels) return data.labels[frame];
      if (times) return `${times[frame].toFixed(times[frames - 1] < 10 ? 3 : 2)} ps`;
      return `frame ${frame + 1} of ${frames}`;
    };

    const tracePoint = (name) => traceValues[name]?.[traces.shown[state.frame]];

    function write() {
      const temperature = tracePoint("temperature"), energy = tracePoint("potential_energy");
      values[0].textContent = frames > 1 && state.mode === null ? timeText(state.frame) : "";
      values[1].textContent = Number.isFinite(temperature) ? `${temperature.toFixed(0)} K` : "";
      values[2].textContent = Number.isFinite(energy)
        ? `${energy < 0 ? "−" : "+"}${Math.abs(energy).toFixed(2)} eV` : "";
      slider.value = state.frame;
      slider.setAttribute("aria-valuetext", timeText(state.frame));
      now.textContent = `${state.frame + 1} / ${frames}`;
    }

    function colours() {
      if (state.colour === "element") {
        return data.symbols.map((symbol) => ELEMENTS[symbol] ?? OTHER_ELEMENT);
      }
      const values = quantities[state.colour] ??= decode(data.colours[state.colour].values);
      const largest = data.colours[state.colour].max;
      return data.symbols.map((_, atom) => {
        const part = Math.min(1, Math.max(0, values[state.frame * count + atom] / largest));
        if (Number.isNaN(part)) return OTHER_ELEMENT;
        const [from, to] = part < 0.5 ? stops.slice(0, 2) : stops.slice(1);
        const share = part < 0.5 ? 2 * part : 2 * part - 1;
        const mixed = from.map((one, channel) => Math.round(one + share * (to[channel] - one)));
        return (mixed[0] << 16) | (mixed[1] << 8) | mixed[2];
      });
    }
    let stops = ["low", "middle", "high"].map(channels);

    /** Put the atoms where they are in the current frame, or along the mode, and render. */
    function draw() {
      if (!viewer) return;
      const start = state.frame * 3 * count, shades = colours();
      const shift = state.mode ? state.amplitude * Math.sin(2 * Math.PI * state.phase) : 0;
      atoms.forEach((atom, number) => {
        const at = 3 * number;
        atom.x = positions[start + at] + (shift && shift * state.mode[at]);
        atom.y = positions[start + at + 1] + (shift && shift * state.mode[at + 1]);
        atom.z = positions[start + at + 2] + (shift && shift * state.mode[at + 2]);
        atom.color = shades[number];
        atom.capDrawn = false;
        atom.intersectionShape = { sphere: [], cylinder: [], line: [], triangle: [] };
      });
      model.setFrame(0);
      labels.forEach((one, number) => {
        const { x, y, z } = atoms[number];
        one.sprite.position.set(x, y, z);
      });
      drawMarks();
      viewer.render();
    }

    /** Draw what is measured and the bonds between highlighted atoms. */
    function drawMarks() {
      drawn.forEach((shape) => viewer.removeShape(shape));
      drawn = [];
      if (!picked.length && !highlight.length) return;
      const [color, marked] = ["accent", "orange"].map(channels)
        .map(([red, green, blue]) => (red << 16) | (green << 8) | blue);
      for (const number of picked) {
        drawn.push(viewer.addSphere({ center: xyz(atoms[number]), radius: 0.55, color, alpha: 0.45 }));
      }
      picked.slice(1).forEach((end, before) => drawn.push(viewer.addCylinder({
        start: xyz(atoms[picked[before]]), end: xyz(atoms[end]), radius: 0.05, color,
        dashed: true, dashLength: 0.14, gapLength: 0.1,
      })));
      highlight.slice(1).forEach((end, before) => drawn.push(viewer.addCylinder({
        start: xyz(atoms[highlight[before]]), end: xyz(atoms[end]), radius: 0.2, color: marked,
      })));
    }

    function drawLabels() {
      labels.forEach((one) => viewer.removeLabel(one));
      labels = [];
      if (!state.labelled) return;
      const style = {
        fontColor: colour("text"), fontSize: 13, backgroundColor: colour("ground"),
        backgroundOpacity: 0.7, padding: 1, alignment: "center",
      };
      labels = atoms.map((atom, number) => viewer.addLabel(
        name(number), { ...style, position: xyz(atom) }, undefined, true,
      ));
    }

    const xyz = ({ x, y, z }) => ({ x, y, z });
    const name = (number) => `${data.symbols[number]}${number}`;

    /** Return the distance (Å), angle or torsion (degrees) of the picked atoms; NaN for one atom. */
    function measured() {
      const points = picked.map((number) => [atoms[number].x, atoms[number].y, atoms[number].z]);
      const minus = (a, b) => a.map((one, axis) => one - b[axis]);
      const dot = (a, b) => a.reduce((sum, one, axis) => sum + one * b[axis], 0);
      const cross = (a, b) => [
        a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0],
      ];
      const norm = (a) => Math.sqrt(dot(a, a));
      if (points.length === 2) return norm(minus(points[1], points[0]));
      if (points.length === 3) {
        const [a, b] = [minus(points[0], points[1]), minus(points[2], points[1])];
        return Math.acos(Math.min(1, Math.max(-1, dot(a, b) / norm(a) / norm(b)))) * 180 / Math.PI;
      }
      if (points.length === 4) {
        const [a, b, c] = [0, 1, 2].map((at) => minus(points[at + 1], points[at]));
        const [m, n] = [cross(a, b), cross(b, c)];
        return Math.atan2(dot(cross(m, n), b) / norm(b), dot(m, n)) * 180 / Math.PI;
      }
      return NaN;
    }

    function writeHint(text = "") {
      if (state.measuring) {
        const value = viewer ? measured() : NaN;
        const named = picked.map(name).join("–");
        if (!picked.length) hint.textContent = "Click two, three or four atoms";
        else if (picked.length === 1) hint.textContent = `${named}, click another atom`;
        else hint.textContent = `${MEASURES[picked.length]} ${named}: ${
          picked.length === 2 ? `${value.toFixed(3)} Å` : `${value.toFixed(1)}°`}`;
      } else {
        hint.textContent = text;
      }
    }

    function pick(atom) {
      if (!state.measuring) return;
      const at = picked.indexOf(atom.index);
      if (at >= 0) picked.splice(at, 1);
      else {
        if (picked.length === 4) picked.length = 0;
        picked.push(atom.index);
      }
      draw();
      writeHint();
    }

    function hovered(atom) {
      if (state.measuring) return;
      const shown = data.colours?.[state.colour];
      const value = shown && quantities[state.colour]?.[state.frame * count + atom.index];
      writeHint(shown ? `${name(atom.index)}: ${value.toPrecision(3)} ${shown.unit}` : name(atom.index));
    }

    // -- the molecule

    function open() {
      if (!hasWebGL()) {
        canvas.replaceChildren(make("p", "nnpipe-error", "This browser cannot draw molecules: WebGL is missing."));
        return;
      }
      viewer = $3Dmol.createViewer(canvas, {
        backgroundAlpha: 0, backgroundColor: "white", antialias: true, upscale,
        disableFog: true, hoverDuration: 60,
      });
      viewer.setBackgroundColor(0xffffff, 0);
      fill();
      viewer.setClickable({}, true, pick);
      viewer.setHoverable({}, true, hovered, () => writeHint());
    }

    /** Put the molecule into the viewer. */
    function fill() {
      model = viewer.addModel();
      const bonds = data.symbols.map(() => []);
      for (const [a, b] of data.bonds) {
        bonds[a].push(b);
        bonds[b].push(a);
      }
      model.addAtoms(data.symbols.map((symbol, index) => ({
        elem: symbol, atom: symbol, index, serial: index, bonds: bonds[index],
        bondOrder: bonds[index].map(() => 1), x: positions[3 * index],
        y: positions[3 * index + 1], z: positions[3 * index + 2],
      })));
      atoms = model.selectedAtoms({});
      model.addFrame(atoms);
      viewer.setStyle({}, { sphere: { scale: SPHERE_SCALE }, stick: { radius: STICK_RADIUS_A } });
      drawCell();
      drawLabels();
      draw();
      resetView();
    }

    /** Draw the molecule as it stands for print; return false if the page lost the player. */
    function still() {
      if (!parts.isConnected) return false;
      if (!hasWebGL()) return true;
      const before = { viewer, model, atoms, drawn, cell, labels };
      const view = viewer?.getView();
      viewer = stillViewer();
      drawn = cell = labels = [];
      fill();
      if (view) viewer.setView(view);
      viewer.render();
      const picture = viewer.getCanvas();
      paper.width = picture.width;
      paper.height = picture.height;
      paper.getContext("2d").drawImage(picture, 0, 0);
      viewer.removeAllLabels();
      viewer.removeAllShapes();
      viewer.removeAllModels();
      ({ viewer, model, atoms, drawn, cell, labels } = before);
      return true;
    }
    shown.add(still);

    function drawCell() {
      cell.forEach((edge) => viewer.removeShape(edge));
      cell = [];
      if (!data.cell) return;
      const [red, green, blue] = channels("muted");
      const tint = (red << 16) | (green << 8) | blue;
      const corner = (a, b, c) => Object.fromEntries(["x", "y", "z"].map((axis, number) => [
        axis, a * data.cell[0][number] + b * data.cell[1][number] + c * data.cell[2][number],
      ]));
      for (const [a, b] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
        for (const [start, end] of [
          [corner(0, a, b), corner(1, a, b)], [corner(a, 0, b), corner(a, 1, b)],
          [corner(a, b, 0), corner(a, b, 1)],
        ]) cell.push(viewer.addCylinder({ start, end, radius: 0.03, color: tint }));
      }
    }

    function resetView() {
      if (!viewer) return;
      viewer.setView(viewer.getView().slice(0, 4).concat([0, 0, 0, 1]));
      viewer.zoomTo();
      if (data.cell) viewer.rotate(18, "y");
      if (data.cell) viewer.rotate(10, "x");
      viewer.zoom(0.92);
      viewer.render();
    }

    // -- motion

    function tick(when) {
      state.ticking = false;
      const seconds = Math.min(0.1, (when - state.before) / 1000);
      state.before = when;
      if (!state.visible || !moving()) return;
      state.turn += state.spin ? SPIN_DEGREES_PER_SECOND * seconds : 0;
      const next = Math.floor(state.clock + seconds * FRAMES_PER_SECOND * state.speed) % frames;
      const redraws = state.playing && (state.mode || next !== state.frame);
      if (state.turn && viewer && (redraws || when - state.turned > SPIN_MS)) {
        // two pictures would be drawn, one turned and one of the next frame
        if (redraws) viewer.show = () => {};
        viewer.rotate(state.turn, "y");
        delete viewer.show;
        state.turn = 0;
        state.turned = when;
      }
      if (state.playing) {
        if (state.mode) {
          state.phase = (state.phase + seconds / VIBRATION_SECONDS) % 1;
          draw();
          writeHint();
        } else {
          state.clock += seconds * FRAMES_PER_SECOND * state.speed;
          const frame = Math.floor(state.clock) % frames;
          if (frame !== state.frame) show(frame, true);
        }
      }
      wake();
    }

    const moving = () => state.spin || state.playing;

    function wake() {
      if (state.ticking || !state.visible || !moving()) return;
      state.ticking = true;
      requestAnimationFrame(tick);
    }

    function show(frame, keepClock) {
      state.frame = Math.min(frames - 1, Math.max(0, Math.round(frame)));
      if (!keepClock) state.clock = state.frame;
      draw();
      write();
      if (state.measuring) writeHint();
      moveCursor?.();
      listeners.forEach((call) => call(state.frame, times ? times[state.frame] : null));
    }

    function setPlaying(on) {
      state.playing = on && (frames > 1 || state.mode !== null);
      state.before = performance.now();
      playButton.innerHTML = state.playing ? PAUSE : PLAY;
      playButton.setAttribute("aria-label", state.playing ? "Pause" : "Play");
      playButton.title = state.playing ? "Pause (space)" : "Play (space)";
      wake();
    }

    function spin(on) {
      state.spin = on;
      state.before = performance.now();
      spinButton.setAttribute("aria-pressed", on);
      wake();
    }

    function measure(on) {
      state.measuring = on;
      if (on) setPlaying(false);
      measureButton.setAttribute("aria-pressed", on);
      stage.classList.toggle("nnpipe-measuring", on);
      picked.length = 0;
      draw();
      writeHint();
    }

    function label(on) {
      state.labelled = on;
      labelsButton.setAttribute("aria-pressed", on);
      if (!viewer) return;
      drawLabels();
      draw();
    }

    function setColour(key) {
      state.colour = data.colours?.[key] ? key : "element";
      colourSelect.value = state.colour;
      const shown = data.colours?.[state.colour];
      if (shown) {
        const largest = `≥ ${Number(shown.max.toPrecision(2))} ${shown.unit}`;
        legend.replaceChildren(
          make("span", "", shown.label), make("span", "", "0"), make("span", "nnpipe-bar"),
          make("span", "", largest),
        );
      } else {
        legend.replaceChildren(...[...new Set(data.symbols)].map((symbol) => {
          const entry = make("span", "nnpipe-element", symbol);
          const shade = (ELEMENTS[symbol] ?? OTHER_ELEMENT).toString(16).padStart(6, "0");
          entry.style.setProperty("--nn-element", `#${shade}`);
          return entry;
        }));
      }
      draw();
      if (shown && !state.playing && state.frame === 0) leaveMinimum();
    }

    /** At a first frame without colour, such as a minimum without forces, show one with colour. */
    function leaveMinimum() {
      const { values, max } = data.colours[state.colour];
      quantities[state.colour] ??= decode(values);
      const largest = (frame) => quantities[state.colour]
        .subarray(frame * count, (frame + 1) * count)
        .reduce((most, value) => (value > most ? value : most), 0);
      if (largest(0) > FAINT * max) return;
      for (let frame = 1; frame < frames; frame += 1) {
        if (largest(frame) < max / 2) continue;
        show(frame);
        writeHint("Frame 1 has values near 0");
        return;
      }
    }

    /** Move along a normal mode: its number in the data, or displacements (N, 3) or (3 N); null ends. */
    function vibrate(mode, amplitude = VIBRATION_A) {
      if (Number.isInteger(mode)) mode = modes.subarray(3 * count * mode, 3 * count * (mode + 1));
      state.mode = mode === null ? null : Array.from(mode).flat();
      state.amplitude = amplitude;
      state.phase = 0;
      line.hidden = frames < 2 && state.mode === null;
      slider.hidden = now.hidden = speedSelect.hidden = state.mode !== null || frames < 2;
      setPlaying(state.mode !== null);
      draw();
      write();
    }

    // -- events

    playButton.addEventListener("click", () => setPlaying(!state.playing));
    slider.addEventListener("input", () => { setPlaying(false); show(Number(slider.value)); });
    colourSelect.addEventListener("change", () => setColour(colourSelect.value));
    speedSelect.addEventListener("change", () => { state.speed = Number(speedSelect.value); });
    element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const control = event.target.closest("button, select, input");
      const step = event.shiftKey ? 10 : 1;
      const moves = { ArrowLeft: -step, ArrowRight: step, Home: -Infinity, End: Infinity };
      if (event.key === " " && !control) setPlaying(!state.playing);
      else if (event.key in moves && control?.tagName !== "SELECT" && frames > 1) {
        setPlaying(false);
        show(state.frame + moves[event.key]);
      } else return;
      event.preventDefault();
    });
    // The page scrolls over a molecule until it is clicked: only then the wheel and fingers move it.
    const activate = (on) => stage.classList.toggle("nnpipe-active", on);
    const active = () => stage.classList.contains("nnpipe-active");
    stage.addEventListener("wheel", (event) => {
      if (!active() && !event.ctrlKey) event.stopPropagation();
    }, { capture: true });
    for (const kind of ["touchstart", "touchmove"]) {
      stage.addEventListener(kind, (event) => {
        if (!active() && event.touches.length < 2) event.stopPropagation();
      }, { capture: true });
    }
    stage.addEventListener("click", () => activate(true));
    stage.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") activate(false);
    });
    document.addEventListener("pointerdown", (event) => {
      if (!stage.contains(event.target)) activate(false);
    });
    stage.tabIndex = 0;
    stage.setAttribute("role", "img");
    stage.setAttribute("aria-label", `Molecule ${title || data.formula}. ${frames > 1
      ? "Space plays and pauses, the arrow keys change the frame." : "Drag to turn it."}`);
    themed.add(() => {
      stops = ["low", "middle", "high"].map(channels);
      if (!viewer) return;
      drawCell();
      drawLabels();
      draw();
    });
    new IntersectionObserver((seen) => {
      state.visible = seen.some((one) => one.isIntersecting);
      state.before = performance.now();
      wake();
    }).observe(stage);

    // -- traces

    function drawTraces(place) {
      const at = plain(decode(traces.times));
      const rows = [["temperature"], ["potential_energy", "total_energy"], ["bond_deviation"]]
        .map((names) => names.filter((one) => traces.quantities[one]))
        .filter((names) => names.length);
      const shades = {
        temperature: "vermilion", potential_energy: "blue", total_energy: "purple",
        bond_deviation: "green",
      };
      const axisOf = (number) => (number ? `y${number + 1}` : "y");
      const gap = 0.05, height = (1 - gap * (rows.length - 1)) / rows.length;
      const build = ({ axis, layout }) => {
        const built = {
          ...layout, hovermode: "x unified", hoversubplots: "axis", margin: TRACE_MARGIN,
          legend: {
            ...layout.legend, orientation: "h", x: 1, xanchor: "right", yanchor: "bottom",
            y: 1 - height - gap, font: { ...layout.legend.font, size: 12 },
          },
          xaxis: {
            ...axis, title: { ...axis.title, text: "time, ps" }, anchor: axisOf(rows.length - 1),
            range: [at[0], at.at(-1)],
            unifiedhovertitle: { text: "%{x:.3f} ps" },
          },
        };
        rows.forEach((names, number) => {
          const { unit } = traces.quantities[names[0]];
          const label = names.length > 1 ? "energy" : traces.quantities[names[0]].label;
          const bottomEdge = 1 - height * (number + 1) - gap * number;
          built[`yaxis${number ? number + 1 : ""}`] = {
            ...axis, domain: [Math.max(0, bottomEdge), bottomEdge + height], nticks: 5,
            title: { ...axis.title, text: `${label}, ${unit}`, font: { size: 12 } },
          };
        });
        return {
          layout: built,
          data: rows.flatMap((names, number) => names.map((one) => ({
            x: at, y: plain(traceValues[one]), name: traces.quantities[one].label,
            yaxis: axisOf(number), mode: "lines",
            showlegend: names.length > 1, line: { color: colour(shades[one]), width: 1.2 },
            hovertemplate: `%{y:.3~f} ${traces.quantities[one].unit}`,
          }))),
        };
      };
      plot(place, build, () => {
        if (!place.isConnected) return; // made for print
        // not a shape of Plotly, with which all lines would be drawn again for each frame
        const cursor = place.appendChild(make("div", "nnpipe-cursor"));
        moveCursor = () => {
          if (!place.layout) return;
          const [from, to] = place.layout.xaxis.range;
          const part = (times[state.frame] - from) / (to - from);
          const width = place.clientWidth - TRACE_MARGIN.l - TRACE_MARGIN.r;
          cursor.hidden = part < 0 || part > 1;
          cursor.style.transform = `translateX(${TRACE_MARGIN.l + part * width}px)`;
        };
        new ResizeObserver(moveCursor).observe(place);
        themed.add(moveCursor);
        place.on("plotly_hover", (event) => {
          setPlaying(false);
          setTime(event.points[0].x);
        });
        place.on("plotly_relayout", moveCursor);
        moveCursor();
      });
    }

    /** Show the frame nearest to a time, ps. */
    function setTime(time) {
      let best = 0;
      times.forEach((one, number) => {
        if (Math.abs(one - time) < Math.abs(times[best] - time)) best = number;
      });
      show(best);
    }

    write();
    setPlaying(false);
    setColour(options.colour || "element");
    spin(state.spin);
    writeHint();
    measureButton.setAttribute("aria-pressed", false);
    labelsButton.setAttribute("aria-pressed", state.labelled);
    if (traces && options.traces !== false && Object.keys(traceValues).length) {
      let place = options.traces;
      if (!(place instanceof Element)) {
        place = parts.appendChild(make("div", "nnpipe-traces"));
        parts.classList.add("nnpipe-two");
      }
      drawTraces(place);
    }
    if (!options.still) whenSeen(stage, open, false);
    if (options.autoplay !== false && frames > 1 && !calm.matches) setPlaying(true);
    if (Number.isInteger(options.mode)) vibrate(options.mode);
    if (calm.matches) setPlaying(false);

    const made = {
      data, element, frames,
      get frame() { return state.frame; },
      get playing() { return state.playing; },
      get viewer() { return viewer; },
      setFrame: (frame) => show(frame),
      setTime, vibrate, setColour, resetView, measured,
      play: () => setPlaying(true),
      pause: () => setPlaying(false),
      spin, measure, label,
      pick: (index) => pick({ index }),
      onFrame: (callback) => { listeners.push(callback); },
    };
    element.nnpipePlayer = made;
    return made;
  }

  /** Make the players of all elements of class nnpipe-player whose data the page holds, when seen. */
  function start(root = document) {
    for (const element of root.querySelectorAll(".nnpipe-player")) {
      const source = element.querySelector(':scope > script[type="application/json"]');
      if (!source || element.nnpipeWaiting) continue;
      element.nnpipeWaiting = true;
      whenSeen(element, () => {
        const { data, options } = JSON.parse(source.textContent);
        player(element, data, options);
      });
    }
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => start());
  else queueMicrotask(() => start());

  return { player, printed, plot, start, colour, decode, theme };
})();
