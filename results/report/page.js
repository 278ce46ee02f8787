"use strict";
// The charts, and the panel that shows the trial whose point, curve or button was clicked.
(() => {
  const { charts, classes, trials } = JSON.parse(document.getElementById("data").textContent);
  const panel = document.getElementById("trial");
  const positions = new Set(["pre", "3x3", "standard", "identity", "post"]);

  // Text goes in as text alone: names and reasons in a study are anybody's.
  function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  const counted = (value) => value.toLocaleString("en-US");
  const fraction = (value) => value.toFixed(4);

  function accuracy(trial) {
    if (trial.accuracy != null) {
      const interval = trial.interval ? ` (95%: ${trial.interval.map(fraction).join(" to ")})` : "";
      return fraction(trial.accuracy) + interval;
    }
    return trial.last == null ? undefined : `${fraction(trial.last)} so far, no final accuracy`;
  }

  function facts(trial) {
    const known = {
      state: trial.state,
      baseline: trial.baseline,
      failed: trial.reason,
      accuracy: accuracy(trial),
      FLOPs: trial.flops == null ? undefined : counted(trial.flops),
      parameters: trial.params == null ? undefined : counted(trial.params),
      ...trial.objectives,
      epochs: trial.epochs,
      duration: trial.duration == null ? undefined : `${trial.duration.toFixed(1)} s`,
      backbone: trial.backbone,
      architecture: trial.id,
    };
    const list = element("dl");
    for (const [name, value] of Object.entries(known)) {
      if (value == null) continue;
      list.append(element("dt", name), element("dd", String(value)));
    }
    return list;
  }

  function table(headings, rows) {
    const made = element("table");
    const head = made.createTHead().insertRow();
    headings.forEach((heading) => head.append(element("th", heading)));
    const body = made.createTBody();
    rows.forEach((cells) => {
      const row = body.insertRow();
      cells.forEach((cell) => row.append(element("td", cell)));
    });
    return made;
  }

  function architecture(trial) {
    if (trial.parameters) {
      const rows = Object.entries(trial.parameters).map(([name, value]) => [name, String(value)]);
      return rows.length ? table(["parameter", "value"], rows) : element("p", "Nothing is recorded of its architecture.");
    }
    if (!trial.sites.length) return element("p", "No SE at any site.");
    const made = table(["site", "position", "variant", "widths"], trial.sites);
    for (const row of made.tBodies[0].rows) {
      const position = row.cells[1].textContent;
      if (positions.has(position)) row.cells[1].prepend(element("span", "", `mark position-${position}`));
    }
    return made;
  }

  function byClass(trial) {
    if (!trial.by_class) return [];
    const rows = trial.by_class.map((value, label) => [
      classes[label] ?? String(label),
      value == null ? "no images" : fraction(value),
    ]);
    return [table(["class", "accuracy"], rows)];
  }

  function show(number, scroll) {
    const trial = trials[number];
    if (!trial) return;
    panel.replaceChildren(element("h3", `Trial ${number}`), facts(trial), architecture(trial), ...byClass(trial));
    panel.dataset.trial = number;
    if (scroll) panel.scrollIntoView({ block: "nearest" });
  }

  document.querySelectorAll("[data-chart]").forEach(async (place) => {
    const spec = charts[place.dataset.chart];
    // The interpreter needs no evaluation of texts as programs, which the page's policy forbids.
    const { view } = await vegaEmbed(place, spec, { actions: false, renderer: "svg", ast: true });
    view.addEventListener("click", (event, item) => {
      const datum = item && item.datum;
      if (datum && datum.number != null) show(datum.number, true);
    });
    place.dataset.drawn = "yes";
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-show]");
    if (button) show(button.dataset.show, true);
  });
  if (panel && panel.dataset.trial) show(panel.dataset.trial, false);
})();
