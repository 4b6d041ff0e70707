"use strict";
(function () {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // Figures: colours are CSS variables, looked up again when the reader's theme changes.
  function themed(value, style) {
    if (typeof value === "string" && value.startsWith("var(--")) {
      return style.getPropertyValue(value.slice(4, -1)).trim();
    }
    if (Array.isArray(value)) return value.map((item) => themed(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item, style)]));
    }
    return value;
  }

  const plots = [];
  const options = { displayModeBar: false };

  function draw(plot) {
    const style = getComputedStyle(root);
    const data = themed(plot.source.data, style);
    data.forEach((trace) => { if (plot.hidden.has(trace.legendgroup)) trace.visible = false; });
    const layout = themed(plot.source.layout, style);
    layout.font.family = style.getPropertyValue("--sans");
    return Plotly.react(plot.element, data, layout, options);
  }

  document.querySelectorAll("[data-plot]").forEach((element) => {
    const source = JSON.parse(document.getElementById(element.dataset.plot).textContent);
    const plot = { element, source, hidden: new Set() };
    plots.push(plot);
    draw(plot);
    element.closest("figure").querySelectorAll(".legend button").forEach((button) => {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        if (on) plot.hidden.delete(button.dataset.group); else plot.hidden.add(button.dataset.group);
        draw(plot);
      });
    });
  });
  dark.addEventListener("change", () => plots.forEach(draw));
  new ResizeObserver(() => plots.forEach((plot) => Plotly.Plots.resize(plot.element))).observe(document.body);
  window.addEventListener("beforeprint", () => plots.forEach((plot) => {
    Plotly.relayout(plot.element, { width: Math.min(plot.element.clientWidth, 680), autosize: false });
  }));
  window.addEventListener("afterprint", () => plots.forEach(draw));

  // Leaderboards: a click sorts the settings and the references apart, so that settings stay first.
  function sortKey(row, column) {
    const cell = row.cells[column];
    if (cell === undefined) return "";
    return cell.dataset.sort === undefined ? cell.textContent.trim() : cell.dataset.sort;
  }

  function compare(left, right, down) {
    if (left === "" || right === "") return (left === "") - (right === "");
    const numbers = [Number(left), Number(right)];
    const order = numbers.some(Number.isNaN) ? left.localeCompare(right) : numbers[0] - numbers[1];
    return down ? -order : order;
  }

  document.querySelectorAll("table[data-sortable]").forEach((table) => {
    table.querySelectorAll("thead button").forEach((button) => {
      const header = button.closest("th");
      button.addEventListener("click", () => {
        const first = header.classList.contains("n") ? "descending" : "ascending";
        const other = first === "descending" ? "ascending" : "descending";
        const order = header.getAttribute("aria-sort") === first ? other : first;
        table.querySelectorAll("thead th").forEach((one) => one.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", order);
        for (const body of table.tBodies) {
          const rows = [...body.rows];
          rows.sort((a, b) => compare(sortKey(a, header.cellIndex), sortKey(b, header.cellIndex), order === "descending"));
          body.append(...rows);
        }
      });
    });
  });
})();
