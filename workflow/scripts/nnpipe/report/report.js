/* The page of a run: plots and molecules in the elements that wait for them. Needs nnpipe (player.js). */
"use strict";
(() => {
  const MOST_STAGES = 8; // molecules on the graphics card at once; browsers allow 16
  const read = (id) => JSON.parse(document.getElementById(id).textContent);

  /** Return a copy of what Plotly draws, with the colours of the page in place of CSS variables. */
  function coloured(value) {
    if (typeof value === "string") {
      return value.startsWith("--nn-") ? nnpipe.colour(value.slice(5)) : value;
    }
    if (Array.isArray(value)) {
      return value.length && typeof value[0] === "object" ? value.map(coloured) : value;
    }
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one)]));
    }
    return value;
  }

  // ---- molecules

  const stages = new Map(); // element: its player, in the order in which they were made
  const seen = new Set();

  function openStage(element) {
    if (stages.has(element)) return stages.get(element);
    const options = JSON.parse(element.dataset.options || "{}");
    element.style.minHeight = "";
    const made = nnpipe.player(element, read(element.dataset.player), options);
    stages.set(element, made);
    if (Number(element.dataset.frame)) made.setFrame(Number(element.dataset.frame));
    for (const one of stages.keys()) {
      if (stages.size <= MOST_STAGES) break;
      if (!seen.has(one)) closeStage(one);
    }
    return made;
  }

  function closeStage(element) {
    stages.get(element).pause();
    element.style.minHeight = `${element.offsetHeight}px`; // the page must not move
    for (const canvas of element.querySelectorAll("canvas")) {
      canvas.getContext("webgl2")?.getExtension("WEBGL_lose_context")?.loseContext();
    }
    element.querySelectorAll(".js-plotly-plot").forEach((plot) => Plotly.purge(plot));
    element.replaceChildren();
    stages.delete(element);
  }

  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        seen.add(target);
        openStage(target);
      } else seen.delete(target);
    }
  }, { rootMargin: "200px" });
  document.querySelectorAll(".stage[data-player]").forEach((element) => {
    watcher.observe(element);
    nnpipe.printed(element, () => ({
      data: read(element.dataset.player), options: JSON.parse(element.dataset.options || "{}"),
      frame: Number(element.dataset.frame),
    }));
  });

  const linked = (element) => element.closest("[data-linked]")?.querySelector(".stage[data-player]");

  // ---- a molecule in a dialog

  const dialog = document.getElementById("molecule");
  let geometries = null;

  function openMolecule(index, about) {
    geometries ??= read("geometries");
    const data = geometries[index];
    if (!data) return;
    dialog.querySelector("h2").textContent = `Molecule no. ${index}, ${data.formula}`;
    dialog.querySelector(".about").textContent = about;
    const old = dialog.querySelector(".stage");
    const stage = document.createElement("div");
    stage.className = "stage";
    for (const canvas of old.querySelectorAll("canvas")) {
      canvas.getContext("webgl2")?.getExtension("WEBGL_lose_context")?.loseContext();
    }
    old.replaceWith(stage);
    dialog.showModal();
    nnpipe.player(stage, data, { title: "", spin: true });
  }

  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  for (const button of document.querySelectorAll("[data-molecule]")) {
    button.addEventListener("click", () => openMolecule(button.dataset.molecule, button.dataset.about));
  }

  // ---- plots

  const actions = {
    molecule: (element, { unit }) => element.on("plotly_click", ({ points: [point] }) => {
      const error = point.data.error?.[point.pointIndex] ?? point.y;
      const text = `${error < 0 ? "−" : "+"}${Math.abs(error)} ${unit}`;
      openMolecule(point.customdata, `Error of ${point.data.name}: ${text}`);
    }),
    mode: (element) => {
      const select = element.closest("[data-linked]").querySelector("[data-modes]");
      element.on("plotly_click", ({ points }) => {
        const point = points.find((one) => one.customdata !== undefined);
        if (!point) return;
        select.value = point.customdata;
        select.dispatchEvent(new Event("change"));
      });
    },
    geometry: (element) => element.on("plotly_hover", ({ points: [point] }) => {
      openStage(linked(element)).setFrame(point.customdata);
    }),
  };

  for (const select of document.querySelectorAll("[data-modes]")) {
    select.addEventListener("change", () => openStage(linked(select)).vibrate(Number(select.value)));
  }

  /** Return data and layout of predictions against labels, with the diagonal, in place of errors. */
  function inParity({ data: [points], layout, parity }) {
    const ends = [Math.min(...points.x), Math.max(...points.x)];
    const diagonal = {
      type: "scatter", mode: "lines", x: ends, y: ends, hoverinfo: "skip",
      line: { color: "--nn-muted", width: 1 },
    };
    const shown = { ...points, y: parity.y, error: points.y, hovertemplate: parity.hover };
    const yaxis = { ...layout.yaxis, title: { text: parity.label } };
    return { data: [diagonal, shown], layout: { ...layout, yaxis } };
  }

  for (const element of document.querySelectorAll("[data-plot]")) {
    const held = read(element.dataset.plot);
    const button = element.closest("figure").querySelector("[data-parity]");
    const build = ({ axis, layout: base }) => {
      const parity = button?.getAttribute("aria-pressed") === "true";
      const { data, layout } = parity ? inParity(held) : held;
      const built = { ...base, ...coloured(layout) };
      for (const name of Object.keys(built).filter((key) => /^[xy]axis\d*$/.test(key))) {
        const font = { ...axis.title.font, size: 13 };
        const title = { ...axis.title, ...built[name].title, font };
        built[name] = { ...axis, ...built[name], title };
        if (built[name].type === "log") built[name].tickformat ??= "~g"; // without a format, small digits
      }
      built.margin = { l: 58, r: 10, t: 8, b: 42, ...layout.margin };
      built.legend = { ...base.legend, orientation: "h", x: 0, y: 1.02, yanchor: "bottom", ...layout.legend };
      return { data: coloured(data), layout: built };
    };
    nnpipe.plot(element, build, () => actions[held.opens]?.(element, held));
    button?.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
      const built = build({ ...nnpipe.theme(), colour: nnpipe.colour });
      Plotly.react(element, built.data, built.layout);
    });
  }

  // ---- contents: the section on the screen

  const links = new Map([...document.querySelectorAll("nav.contents a")].map((one) => [one.hash.slice(1), one]));
  const spy = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const link = links.get(target.id);
      if (isIntersecting) link?.setAttribute("aria-current", "true");
      else link?.removeAttribute("aria-current");
    }
  }, { rootMargin: "-30% 0px -60% 0px" });
  links.forEach((_, id) => { const target = document.getElementById(id); if (target) spy.observe(target); });

  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
})();
