const data = JSON.parse(document.getElementById("data").textContent);
const MEAN = "mean";
const SHADE = 0.45; // of single seeds beside their mean
const at = (id) => document.getElementById(id);
// Families that are chosen stay so when the preset or algorithm changes.
const chosen = { methods: new Set(["early-stopping", "ma", "ama"]), seeds: new Set([MEAN]), alpha: null };

const spec = JSON.parse(at("spec").textContent);
const { view } = await vegaEmbed(at("chart"), spec, { renderer: "svg", actions: false, hover: false, tooltip: tell, logLevel: 1 });

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  return made;
}

/** Put options [value, text, group] into a select, and keep what was chosen if it is still there. */
function fill(select, options, first) {
  const before = select.value;
  const groups = new Map();
  select.replaceChildren();
  for (const [value, text, group] of options) {
    if (group && !groups.has(group)) groups.set(group, select.appendChild(element("optgroup", undefined, { label: group })));
    (groups.get(group) || select).append(element("option", text, { value }));
  }
  const values = options.map(([value]) => value);
  select.value = values.includes(before) ? before : values.includes(first) ? first : values[0];
}

const preset = () => data.presets.find((one) => one.name === at("preset").value);
const algorithm = () => preset().algorithms.find((one) => one.name === at("algorithm").value);
const rate = () => at("rate").value;
const family_rate = (family) => (family.lr === null ? "own" : String(family.lr));
const families = () => algorithm().families.filter((family) => family_rate(family) === rate() || family.name === "theta_0");

function choose_preset() {
  fill(at("algorithm"), preset().algorithms.map((one) => [one.name, one.label]));
  at("world").textContent = preset().synthetic
    ? `${preset().name} is a synthetic world in which a small model is really trained; it stands in for no larger model.`
    : "";
  choose_algorithm();
}

function choose_algorithm() {
  const { metrics, rewards, seeds } = algorithm();
  const others = metrics.filter((key) => !rewards.includes(key));
  fill(at("ability"), others.map((key) => [key, data.metrics[key].label, data.metrics[key].group]), "mean_ability");
  fill(at("reward"), rewards.map((key) => [key, data.metrics[key].label]));
  const rates = [...new Set(algorithm().families.map(family_rate))].sort((a, b) => (a === "own" ? -1 : b === "own" ? 1 : a - b));
  fill(at("rate"), rates.map((value) => [value, value === "own" ? "the preset's own" : value]));
  at("rates").hidden = rates.length < 2;
  const offered = seeds.length > 1 ? [MEAN, ...seeds] : seeds;
  if (!offered.some((seed) => chosen.seeds.has(seed))) chosen.seeds.add(offered[0]);
  at("seeds").replaceChildren(...offered.map((seed) => chip(String(seed), chosen.seeds, seed)));
  choose_rate();
}

function choose_rate() {
  if (!families().some((family) => chosen.methods.has(family.name))) chosen.methods.add(families()[0].name);
  const kinds = Map.groupBy(families(), (family) => family.kind);
  const open = new Set([...at("methods").querySelectorAll("details[open] summary")].map((one) => one.dataset.kind));
  at("methods").replaceChildren(
    ...[...kinds].map(([kind, members]) => {
      const box = element("details");
      box.open = open.has(kind) || (!open.size && innerWidth > 800 && members.some((family) => chosen.methods.has(family.name)));
      const chips = element("div", undefined, { class: "chips" });
      chips.append(...members.map((family) => chip(family.label, chosen.methods, family.name, family)));
      box.append(element("summary", `methods: ${kind} (${members.length})`, { "data-kind": kind }), chips);
      return box;
    }),
  );
  draw();
}

/** A box to tick that puts `value` into a set. */
function chip(text, set, value, look) {
  const box = element("input", undefined, { type: "checkbox", value });
  box.checked = set.has(value);
  box.addEventListener("change", () => {
    box.checked ? set.add(value) : set.delete(value);
    draw();
  });
  const label = element("label", undefined, { class: "chip" });
  label.append(box);
  if (look) label.insertAdjacentHTML("beforeend", swatch(look));
  label.append(text);
  return label;
}

function swatch(look) {
  const line = `<line x1="0" y1="5" x2="22" y2="5" stroke="${look.colour}" stroke-width="2" stroke-dasharray="${look.dash}"/>`;
  return `<svg width="22" height="10" aria-hidden="true">${look.line ? line : ""}<circle cx="11" cy="5" r="4" fill="${look.colour}"/></svg>`;
}

function entry(look) {
  const made = element("span");
  made.innerHTML = swatch(look);
  made.append(look.label);
  return made;
}

/** The models to be drawn: those of the chosen methods and seeds that have both numbers. */
function points(x, y) {
  const [of_x, of_y] = [x, y].map((key) => algorithm().metrics.indexOf(key));
  const mean = chosen.seeds.has(MEAN) && algorithm().seeds.length > 1;
  const found = [];
  for (const family of families().filter((one) => chosen.methods.has(one.name)))
    for (const model of family.models.filter((one) => chosen.seeds.has(one.seed))) {
      const [a, b] = [model.values[of_x], model.values[of_y]];
      if (!a || !b) continue;
      const [left, up] = [a[1] || 0, b[1] || 0].map((error) => (at("bars").checked ? error : 0));
      found.push({
        x: a[0], x0: a[0] - left, x1: a[0] + left, y: b[0], y0: b[0] - up, y1: b[0] + up,
        step: model.step, alpha: model.alpha, line: family.line, family: family.name, series: `${family.name} ${model.seed}`,
        colour: family.colour, dash: family.dash, opacity: mean && model.seed !== MEAN ? SHADE : 1,
        told: told(family, model, [[x, a], [y, b]]),
      });
    }
  return found.sort((one, other) => one.step - other.step);
}

/** What hovering a model says, line by line. */
function told(family, model, values) {
  const seed = model.seed === MEAN ? `mean over ${model.seeds} ${model.seeds > 1 ? "seeds" : "seed"}` : `seed ${model.seed}`;
  const over = model.seeds > 1 ? "seeds" : "items";
  const numbers = values.map(([key, [value, error]]) => {
    const { label, decimals } = data.metrics[key];
    return `${label}: ${value.toFixed(decimals)}${error === null ? "" : ` ± ${error.toFixed(decimals)} over ${over}`}`;
  });
  const ends = model.end ? [`its end is ${model.end}`] : [];
  return [family.label, ...ends, ...(model.setting ? [model.setting] : []), seed, ...numbers];
}

function draw() {
  const [x, y] = [at("reward").value, at("ability").value];
  const found = points(x, y);
  const floor = chosen.seeds.has(MEAN) || chosen.seeds.size > 1 ? 0 : 1 + algorithm().seeds.indexOf([...chosen.seeds][0]);
  const chance = (algorithm().chance[y] || [])[floor];
  view
    .signal("xTitle", data.metrics[x].label)
    .signal("yTitle", data.metrics[y].label)
    .signal("bars", at("bars").checked)
    .signal("alpha", chosen.alpha ?? -1)
    .data("points", found)
    .data("chance", chance === undefined ? [] : [{ y: chance }])
    .run();
  const shown = families().filter((family) => chosen.methods.has(family.name) && found.some((one) => one.family === family.name));
  at("legend").replaceChildren(...shown.map(entry));
  const guessed = chance === undefined ? "" : ` Chance (dotted, where in range): ${chance.toFixed(data.metrics[y].decimals)}.`;
  at("note").textContent = found.length
    ? `${found.length} models of ${shown.length} ${shown.length > 1 ? "methods" : "method"}: ${preset().name}, ${algorithm().label}.${guessed}`
    : "No model of these methods and seeds has both numbers; choose others.";
}

/** Show what is told of the model under the pointer, or nothing. */
function tell(handler, event, item, lines) {
  const tip = at("tip");
  tip.hidden = !lines;
  if (!lines) return;
  tip.replaceChildren(...lines.map((line) => element("div", line)));
  const point = event.changedTouches ? event.changedTouches[0] : event;
  const left = Math.min(point.clientX + 12, innerWidth - tip.offsetWidth - 8);
  const below = point.clientY + 14 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${below ? point.clientY + 14 : point.clientY - tip.offsetHeight - 14}px`;
}

function fit() {
  const width = at("chart").clientWidth;
  view.width(width).height(Math.round(Math.min(560, Math.max(300, width * 0.68)))).resize().run();
}

function choose_alpha() {
  const { alphas, asked } = data.replies[0];
  const place = Number(at("alpha").value);
  chosen.alpha = alphas[place];
  at("ratio").textContent = alphas[place].toFixed(1);
  at("replies").replaceChildren(...asked.map((one) => card(one, one.replies[place])));
}

function card(asked, { reply, reward, gold_reward: gold }) {
  const box = element("div", undefined, { class: "reply" });
  const rewards = reward === undefined ? "" : `learned reward ${reward.toFixed(2)}, gold reward ${gold.toFixed(2)}`;
  const right = asked.reference === reply ? "as the reference" : `the reference: ${asked.reference}`;
  box.append(
    element("p", asked.kind, { class: "kind" }),
    element("p", asked.prompt, { class: "prompt" }),
    element("p", reply || "(an empty reply)", { class: "said" }),
    element("p", rewards || right, { class: "marks" }),
  );
  return box;
}

function show_samples() {
  if (!data.replies.length) return;
  const { alphas, preset: name, rlhf, seed, made_by, version } = data.replies[0];
  at("samples").hidden = false;
  at("source").textContent =
    `Greedy replies of (1 - alpha) theta_0 + alpha theta; ${name}, ${rlhf.toUpperCase()}, seed ${seed}, trained anew for these samples. Written by \`${made_by}\`, ` +
    `alignment-tax ${version}. The chart rings the models at this ratio.`;
  at("alpha").max = alphas.length - 1;
  at("alpha").value = 0;
  at("alpha").addEventListener("input", () => (choose_alpha(), draw()));
  choose_alpha();
}

fill(at("preset"), data.presets.map((one) => [one.name, one.name]));
at("preset").addEventListener("change", choose_preset);
at("algorithm").addEventListener("change", choose_algorithm);
at("rate").addEventListener("change", choose_rate);
["ability", "reward", "bars"].forEach((id) => at(id).addEventListener("change", draw));
show_samples();
choose_preset();
fit();
new ResizeObserver(fit).observe(at("chart"));
view.addEventListener("click", (event, item) => tell(null, event, item, item && item.tooltip)); // a tap hovers nothing
addEventListener("scroll", () => (at("tip").hidden = true), { passive: true });
