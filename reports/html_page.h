#pragma once
// The parts of the page that no report changes.

namespace kdabench::reports {

inline constexpr const char* kHtmlHead = R"html(<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<style>
:root { color-scheme: light; --ink: #1c2430; --soft: #5a6675; --line: #d9dfe6; --fill: #f4f6f9; --blue: #0072b2; --red: #b23a00; --green: #00724f; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink); background: #fff; }
main, header > div { max-width: 1240px; margin: 0 auto; padding: 0 24px; }
header { border-bottom: 1px solid var(--line); background: var(--fill); padding: 22px 0 12px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 36px 0 8px; } h3 { font-size: 15px; margin: 22px 0 6px; }
p, li { max-width: 88ch; } .soft { color: var(--soft); } code, pre { font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
pre { background: var(--fill); padding: 10px 12px; overflow-x: auto; border-radius: 4px; }
nav a { margin-right: 18px; } a { color: var(--blue); text-decoration: none; } a:hover { text-decoration: underline; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th, td { padding: 4px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; vertical-align: top; }
th { background: var(--fill); border-bottom: 1px solid #b8c2cd; position: sticky; top: 0; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid var(--blue); }
th[aria-sort=ascending] button::after { content: " \25B2"; font-size: 9px; } th[aria-sort=descending] button::after { content: " \25BC"; font-size: 9px; }
tr.groups th { border-bottom: 0; text-align: center; position: static; } .left { text-align: left; } .wide { white-space: normal; min-width: 28ch; }
tbody tr:hover { background: #f8fafc; }
.good { color: var(--green); font-weight: 600; } .bad { color: var(--red); font-weight: 600; } .none { color: var(--soft); }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(360px, 1fr)); gap: 18px; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 4px; padding: 8px; } figure img { width: 100%; height: auto; display: block; }
figure.two { grid-column: span 2; } @media (max-width: 800px) { figure.two { grid-column: auto; } }
figcaption { font-size: 12.5px; color: var(--soft); text-align: center; }
details summary { cursor: pointer; color: var(--blue); } details dl { display: grid; grid-template-columns: max-content minmax(20ch, 70ch); gap: 2px 12px; margin: 6px 0; text-align: left; white-space: normal; font-size: 12.5px; }
table.kernels { font-size: 12.5px; margin: 6px 0; } .kernels td, .kernels th { padding: 1px 10px 1px 0; position: static; background: none; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
input { font: inherit; padding: 4px 8px; width: 340px; max-width: 100%; border: 1px solid #b8c2cd; border-radius: 4px; margin: 4px 0 8px; }
footer { margin: 40px 0 24px; color: var(--soft); font-size: 13px; }
@media print { nav, input { display: none; } th { position: static; } }
</style>
)html";

// A column's key: a number with its unit (4K, 1.9 GiB, 52 %, 2.39x), or else the text. What has none comes last.
inline constexpr const char* kHtmlScript = R"html(<script>
"use strict";
const units = {K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40};
function key(cell) {
  if (!cell) return null;
  const text = (cell.dataset.sort ?? cell.textContent).trim();
  if (text === "" || text === "-") return null;
  const found = text.match(/^([+-]?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\s*([A-Za-z%]*)(?:\s.*)?$/);
  return found ? Number(found[1]) * (units[found[2]] ?? 1) : text.toLowerCase();
}
function order(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
}
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.querySelectorAll("thead tr:last-child th")];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row, at) => ({row, at, key: key(row.cells[column])}));
    rows.sort((x, y) => x.key === null || y.key === null ? (x.key === null) - (y.key === null) || x.at - y.at
      : (down ? -1 : 1) * order(x.key, y.key) || x.at - y.at);
    table.tBodies[0].append(...rows.map(entry => entry.row));
  }));
}
const filter = document.getElementById("filter");
filter?.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/);
  for (const row of document.getElementById("cells").tBodies[0].rows)
    row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
});
</script>
)html";

}  // namespace kdabench::reports
