/* Inside a fragment: unpack its scripts, take the colours and give the height of the page around. */
"use strict";
(async () => {
  for (const element of document.querySelectorAll('script[type="text/gzip"]')) {
    const bytes = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const made = document.createElement("script");
    made.textContent = await new Response(stream).text();
    document.head.append(made);
  }
})();
const fit = () => {
  try {
    frameElement.style.height = `${document.documentElement.offsetHeight}px`;
  } catch { /* the page around is of another origin */ }
};
try {
  const outer = parent.document, shade = outer.body.dataset;
  const chosen = shade.theme || outer.documentElement.dataset.theme;
  const jupyter = { true: "light", false: "dark" }[shade.jpThemeLight];
  const theme = jupyter || chosen;
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* the page around is of another origin */ }
new ResizeObserver(fit).observe(document.documentElement);
