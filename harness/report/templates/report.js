"use strict";
(function () {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const wide = window.matchMedia("(min-width: 44rem)");

  // The library stands in the page compressed; the policy allows the unpacked script by its digest.
  async function unpack(element) {
    const bytes = Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    script.remove();
  }

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
  const LABEL_WIDTH = 190, LABEL_HEIGHT = 18;
  let filtered = new Set();  // groups of the settings that the filters leave out

  function hides(plot, group) {
    return plot.hidden.has(group) || filtered.has(group);
  }

  // The interval of the one row that is looked at, from the limits that its points carry.
  function band(trace) {
    const limits = trace.customdata;
    return {
      x: [...trace.x, ...[...trace.x].reverse()],
      y: [...limits.map((one) => one[1]), ...limits.map((one) => one[0]).reverse()],
      fill: "toself", fillcolor: trace.line.color, opacity: 0.18, line: { width: 0 }, mode: "lines", hoverinfo: "skip",
    };
  }

  function draw(plot) {
    const style = getComputedStyle(root);
    const data = themed(plot.source.data, style);
    data.forEach((trace) => { if (hides(plot, trace.legendgroup)) trace.visible = false; });
    const layout = themed(plot.source.layout, style);
    layout.font.family = style.getPropertyValue("--sans");
    if (plot.direct) {
      const looked = data.find((trace) => trace.legendgroup === plot.looked && trace.visible !== false);
      if (looked) {
        data.forEach((trace) => { trace.opacity = 0.45; });
        Object.assign(looked, { opacity: 1, line: { ...looked.line, width: 2.5 } });
        data.push(band(looked));
      }
      // Margins are fixed so that labels can stand at their lines' ends.
      layout.margin = { l: 56, r: wide.matches ? LABEL_WIDTH : 12, t: 8, b: 48, autoexpand: false };
    }
    const drawn = Plotly.react(plot.element, data, layout, options);
    if (plot.direct) place(plot, layout);
    return drawn;
  }

  // Labels at the ends of their lines, moved apart where they would overlap.
  function place(plot, layout) {
    const [low, high] = layout.yaxis.range, { t, b } = layout.margin;
    const height = plot.element.clientHeight - t - b;
    const labels = plot.labels.map((item) => ({ item, at: t + height * (high - Number(item.dataset.end)) / (high - low) }));
    labels.sort((one, other) => one.at - other.at);
    const down = [], up = [];
    labels.forEach(({ at }, index) => { down.push(index ? Math.max(at, down[index - 1] + LABEL_HEIGHT) : at); });
    [...labels].reverse().forEach(({ at }, index) => { up.unshift(index ? Math.min(at, up[0] - LABEL_HEIGHT) : at); });
    labels.forEach((one, index) => { one.at = (down[index] + up[index]) / 2; });
    const beyond = labels.length ? Math.max(0, labels[labels.length - 1].at - t - height) : 0;
    labels.forEach((one) => { one.at -= beyond; });
    labels.forEach(({ item, at }) => { item.style.top = `${at}px`; });
  }

  function look(plot, group) {
    if (plot.looked === group) return;
    plot.looked = group;
    plot.labels.forEach((item) => item.classList.toggle("looked", item.firstElementChild.dataset.group === group));
    draw(plot);
  }

  function show(element) {
    const source = JSON.parse(document.getElementById(element.dataset.plot).textContent);
    const figure = element.closest("figure");
    const direct = element.parentElement.classList.contains("direct");
    const labels = direct ? [...figure.querySelectorAll(".legend li")] : [];
    const plot = { element, source, direct, labels, hidden: new Set(), looked: null };
    plots.push(plot);
    element.textContent = "";
    draw(plot);
    figure.querySelectorAll(".legend button").forEach((button) => {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        if (on) plot.hidden.delete(button.dataset.group); else plot.hidden.add(button.dataset.group);
        draw(plot);
      });
      if (!direct) return;
      for (const event of ["focus", "pointerenter"]) button.addEventListener(event, () => look(plot, button.dataset.group));
      for (const event of ["blur", "pointerleave"]) button.addEventListener(event, () => look(plot, null));
    });
    if (direct) {
      element.on("plotly_hover", (event) => look(plot, event.points[0].data.legendgroup));
      element.on("plotly_unhover", () => look(plot, null));
    }
  }

  const library = document.getElementById("library");
  if (library && "DecompressionStream" in window) {
    unpack(library).then(() => {
      document.querySelectorAll("[data-plot]").forEach(show);
      dark.addEventListener("change", () => plots.forEach(draw));
      new ResizeObserver(() => plots.forEach((plot) => {
        Plotly.Plots.resize(plot.element);
        if (plot.direct) draw(plot);
      })).observe(document.body);
      window.addEventListener("beforeprint", () => plots.forEach((plot) => {
        Plotly.relayout(plot.element, { width: Math.min(plot.element.clientWidth, 680), autosize: false });
      }));
      window.addEventListener("afterprint", () => plots.forEach(draw));
    });
  }

  // Filters: what is chosen stands in the address as #?axis=value, so that a link shows the same and Back undoes it.
  // A setting that an axis does not reach, such as one without PMP, stays whatever is chosen there.
  function chosen() {
    return location.hash.startsWith("#?") ? new URLSearchParams(location.hash.slice(2)) : new URLSearchParams();
  }

  function filter(settings, wanted) {
    const hidden = new Set();
    settings.forEach((values, index) => {
      for (const [axis, value] of wanted) if (values[axis] !== undefined && values[axis] !== value) hidden.add(index);
    });
    document.querySelectorAll("tr[data-setting]").forEach((row) => { row.hidden = hidden.has(Number(row.dataset.setting)); });
    filtered = new Set([...hidden].map((index) => `setting-${index}`));
    document.querySelectorAll(".legend li").forEach((item) => {
      item.hidden = filtered.has(item.firstElementChild.dataset.group);
    });
    plots.forEach(draw);
    return hidden.size;
  }

  function filters(form, { axes, settings }) {
    const selects = axes.map((axis) => {
      const select = document.createElement("select");
      select.name = axis.name;
      select.append(new Option("all", ""), ...axis.values.map(([name, label]) => new Option(label, name)));
      const label = document.createElement("label");
      label.append(axis.label, " ", select);
      form.append(label);
      return select;
    });
    const count = document.createElement("output");
    form.append(count);
    const apply = () => {
      const wanted = chosen();
      selects.forEach((select) => { select.value = wanted.get(select.name) ?? ""; });
      const known = selects.filter((select) => select.value).map((select) => [select.name, select.value]);
      count.textContent = `${settings.length - filter(settings, known)} of ${settings.length} settings`;
    };
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => {
      const set = selects.filter((select) => select.value).map((select) => [select.name, select.value]);
      location.hash = `?${new URLSearchParams(set)}`;
    });
    // Links to places on the page leave the choice as it is.
    window.addEventListener("hashchange", () => { if (!location.hash || location.hash.startsWith("#?")) apply(); });
    form.hidden = false;
    apply();
  }

  const known = document.getElementById("filters-data");
  if (known) filters(document.getElementById("filters"), JSON.parse(known.textContent));

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
