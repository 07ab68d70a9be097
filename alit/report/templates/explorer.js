// The explorer: looks numbers up in its data and puts them into the page. It computes none of them.
const data = JSON.parse(document.getElementById("explorer-data").textContent);
const at = (id) => document.getElementById(id);
const frames = data.lengths.length + 1; // of a strip: the original, then every length
const images = data.shown.map((image, place) => ({ ...image, place, picture: data.pictures[place] }));
const steps = data.criteria.map((criterion) => criterion.start); // where each criterion's slider stands
const now = { criterion: 0, image: 0, length: data.lengths.length - 1, pointed: 0, views: {} };

const criterion = () => data.criteria[now.criterion];
const step = () => steps[now.criterion];
const stopOf = (place, which = now.criterion) => data.criteria[which].stops[steps[which]][place];
const isMet = (place, which = now.criterion) => data.criteria[which].met[steps[which]][place] === 1;

function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

// Show one frame of an image's strip in a `.picture`: 0 is the original, 1 the shortest length. A strip is set once: it is long.
function show(target, image, frame, alt) {
  if (image.picture && target.shownImage !== image) target.style.setProperty("--strip", `url(${image.picture.strip})`);
  target.shownImage = image;
  target.style.setProperty("--at", frame);
  target.setAttribute("aria-label", image.picture ? alt : `${alt}; not shown`);
}

// Vega warns of scales without data, so that a chart is drawn with its first rows.
async function draw(place, chart, rows) {
  const { view } = await vegaEmbed(place, { ...chart, datasets: rows }, { renderer: "svg", actions: false });
  return view;
}

function setRows(view, rows) {
  for (const [name, values] of Object.entries(rows)) view.data(name, values);
  view.runAsync();
}

// ---- All images under a criterion

function makeThumbnails() {
  for (const image of images) {
    const picture = element("span", { className: "picture", role: "img" });
    picture.style.display = "block";
    const button = element("button", { type: "button" }, picture, element("span", { className: "label" }));
    button.addEventListener("click", () => {
      chooseImage(image.place, stopOf(image.place));
      at("one-image").scrollIntoView();
      at("tokens").focus({ preventScroll: true });
    });
    image.item = element("li", {}, button);
  }
}

function showThumbnails() {
  const places = images.map((image) => image.place).sort((a, b) => stopOf(a) - stopOf(b) || isMet(b) - isMet(a));
  for (const place of places) {
    const { item, image_id } = images[place];
    const length = data.lengths[stopOf(place)];
    const button = item.firstChild;
    show(button.firstChild, images[place], stopOf(place) + 1, image_id);
    button.lastChild.textContent = length;
    button.classList.toggle("missed", !isMet(place));
    button.setAttribute("aria-label", `${image_id}: ${length} tokens${isMet(place) ? "" : ", not satisfied"}`);
    button.setAttribute("aria-pressed", String(place === now.image));
  }
  at("thumbnails").replaceChildren(...places.map((place) => images[place].item));
}

function showNumbers() {
  const chosen = criterion();
  at("threshold-value").textContent = chosen.thresholds[step()];
  at("threshold").setAttribute("aria-valuetext", `${chosen.thresholds[step()]}, capacity ${chosen.capacity.text[step()]}`);
  at("capacity").textContent = chosen.capacity.text[step()];
  at("satisfied").textContent = chosen.satisfied.text[step()];
  at("satisfied-same-cost").textContent = chosen.satisfied_same_cost.text[step()];
  const rows = chosen.tasks.map((task) => {
    const cells = [task.selected, task.same_cost].map((series) => element("td", { textContent: series.text[step()] }));
    return element("tr", {}, element("th", { scope: "row", textContent: task.title }), ...cells);
  });
  at("tasks").tBodies[0].replaceChildren(...rows);
}

const rowsOf = (capacity, series) =>
  capacity.map((x, i) => ({ capacity: x, value: series.value[i], low: series.low[i], high: series.high[i] }));

function curveRows(task) {
  const uniform = data.uniform[task.column];
  return {
    curve: rowsOf(criterion().capacity.value, task.selected),
    uniform: rowsOf(uniform.capacity, uniform.series),
  };
}

function nowRows(task) {
  const here = (series, own) => ({ capacity: criterion().capacity.value[step()], value: series.value[step()], own });
  return { now: [here(task.same_cost, false), here(task.selected, true)] };
}

async function makeTaskCharts() {
  const drawn = criterion().tasks.map((task) => {
    const place = element("div", { className: "chart", role: "img", ariaLabel: `${task.label} by capacity` });
    at("task-charts").append(element("figure", {}, element("figcaption", { textContent: task.title }), place));
    return draw(place, data.charts.task, { ...curveRows(task), ...nowRows(task) });
  });
  now.views.tasks = await Promise.all(drawn);
}

function showTaskCharts({ curves }) {
  now.views.tasks?.forEach((view, i) => {
    const task = criterion().tasks[i];
    setRows(view, { ...(curves && curveRows(task)), ...nowRows(task) });
  });
}

function chooseCriterion(which) {
  now.criterion = which;
  at("threshold").max = criterion().thresholds.length - 1;
  at("threshold").value = step();
  showSet({ curves: true });
}

function showSet({ curves = false } = {}) {
  showNumbers();
  showThumbnails();
  showTaskCharts({ curves });
  showLengths();
  showStops();
}

// ---- Complexity against length

const inOrder = () => {
  const measure = at("measure").value;
  return images.map((image) => image.place).sort((a, b) => images[a].measures[measure] - images[b].measures[measure]);
};

// Marks of one length are spread over half a step, by their place in the list.
function markOf(place) {
  const length = data.lengths[stopOf(place)];
  const spread = data.lengths[0] * 0.5 * (((place * 7) % 11) / 10 - 0.5);
  return { image: place, x: images[place].measures[at("measure").value], y: length + spread, met: isMet(place) };
}

const lengthRows = () => ({ marks: images.map((image) => markOf(image.place)) });
const pointedRows = () => ({ pointed: [markOf(now.pointed)] });

function showLengths() {
  if (!now.views.length) return;
  setRows(now.views.length, lengthRows());
  showPointed();
}

function showPointed() {
  setRows(now.views.length, pointedRows());
  const image = images[now.pointed];
  const length = data.lengths[stopOf(now.pointed)];
  const measure = at("measure");
  const where = `${measure.selectedOptions[0].textContent} ${image.measures[measure.value]}`;
  show(at("pointed-original"), image, 0, `${image.image_id}, the original`);
  show(at("pointed-picture"), image, stopOf(now.pointed) + 1, `${image.image_id} from ${length} tokens`);
  at("pointed-caption").textContent = `${image.image_id}: ${where}, ${length} tokens${isMet(now.pointed) ? "" : ", not satisfied"}`;
  at("pointer-value").textContent = image.image_id;
  at("pointer").setAttribute("aria-valuetext", at("pointed-caption").textContent);
}

function point(place) {
  now.pointed = place;
  at("pointer").value = inOrder().indexOf(place);
  showPointed();
}

async function makeLengthChart() {
  if (!at("measure")) return;
  const view = (now.views.length = await draw(at("length-chart"), data.charts.length, { ...lengthRows(), ...pointedRows() }));
  const placeOf = (item) => item?.datum?.image;
  view.addEventListener("pointerover", (_, item) => placeOf(item) !== undefined && point(placeOf(item)));
  view.addEventListener("click", (_, item) => {
    if (placeOf(item) !== undefined) chooseImage(placeOf(item), stopOf(placeOf(item)));
  });
  at("pointer").max = images.length - 1;
  at("pointer").addEventListener("input", (event) => point(inOrder()[event.target.valueAsNumber]));
  at("measure").addEventListener("change", () => {
    showLengths();
    point(now.pointed);
  });
  point(inOrder()[0]);
}

// ---- One image

function chooseImage(place, length = now.length) {
  now.image = place;
  at("image").value = place;
  at("image-id").textContent = images[place].image_id;
  showMaps();
  chooseLength(length);
  showStops();
  for (const image of images) image.item.firstChild.setAttribute("aria-pressed", String(image.place === place));
}

function chooseLength(length) {
  now.length = length;
  const image = images[now.image];
  const tokens = data.lengths[length];
  const l1 = `L1 ${image.scores[length][0]}`;
  at("tokens").value = length;
  at("tokens-value").textContent = tokens;
  at("tokens").setAttribute("aria-valuetext", `${tokens} tokens, ${l1}`);
  show(at("original"), image, 0, `${image.image_id}, the original`);
  show(at("reconstruction"), image, length + 1, `${image.image_id} from ${tokens} tokens, ${l1}`);
  show(at("error"), image, length + 1, `Absolute error of ${image.image_id} from ${tokens} tokens`);
  at("reconstruction-caption").textContent = `${tokens} tokens, ${l1}`;
  const rows = data.score_labels.map((label, column) =>
    element("tr", {}, element("th", { scope: "row", textContent: label }), element("td", { textContent: image.scores[length][column] })),
  );
  at("scores").tBodies[0].replaceChildren(...rows);
  showLosses();
}

function showStops() {
  const rows = data.criteria.map((each, which) => {
    const length = `${data.lengths[stopOf(now.image, which)]}${isMet(now.image, which) ? "" : " !"}`;
    const cells = [letterOf(which), each.label, each.thresholds[steps[which]], length];
    return element("tr", {}, ...cells.map((textContent) => element("td", { textContent })));
  });
  at("stops").tBodies[0].replaceChildren(...rows);
  showLosses();
}

const letterOf = (which) => String.fromCharCode(65 + which);

function lossRows() {
  const { losses } = images[now.image];
  const row = (i) => ({ length: data.lengths[i], l1: losses[i] });
  const letters = new Map(); // criteria that stop at one length share a line
  data.criteria.forEach((_, which) => {
    const length = data.lengths[stopOf(now.image, which)];
    letters.set(length, `${letters.get(length) ?? ""} ${letterOf(which)}`);
  });
  const stops = Array.from(letters, ([length, label]) => ({ length, label }));
  return { losses: losses.map((_, i) => row(i)), now: [row(now.length)], stops };
}

function showLosses() {
  if (!now.views.loss) return;
  setRows(now.views.loss, lossRows());
  const { image_id } = images[now.image];
  at("loss-chart").setAttribute("aria-label", `L1 error of ${image_id} by tokens; the tables beside it have the numbers`);
}

function showMaps() {
  const { picture, image_id } = images[now.image];
  at("maps-part").hidden = !picture?.latents.length;
  const items = (picture?.latents ?? []).map((latent, tile) => {
    const map = element("div", { className: "picture", role: "img", ariaLabel: `Where latent ${latent} of ${image_id} looks` });
    map.style.setProperty("--maps", `url(${picture.maps})`);
    map.style.setProperty("--strip", `url(${picture.strip})`);
    map.style.setProperty("--tiles", picture.latents.length);
    map.style.setProperty("--tile", tile);
    return element("li", {}, map, String(latent));
  });
  at("maps").replaceChildren(...items);
}

// ---- Start

document.documentElement.style.setProperty("--frames", frames);
at("criterion").addEventListener("change", (event) => chooseCriterion(Number(event.target.value)));
at("threshold").addEventListener("input", (event) => {
  steps[now.criterion] = event.target.valueAsNumber;
  showSet();
});
at("image").addEventListener("change", (event) => chooseImage(Number(event.target.value)));
at("tokens").max = data.lengths.length - 1;
at("tokens").addEventListener("input", (event) => chooseLength(event.target.valueAsNumber));
at("trio").hidden = !images.some((image) => image.picture);
makeThumbnails();
chooseCriterion(0);
chooseImage(0);
Promise.all([
  makeTaskCharts(),
  makeLengthChart(),
  draw(at("loss-chart"), data.charts.loss, lossRows()).then((view) => {
    now.views.loss = view;
    showLosses();
  }),
]).then(() => document.body.classList.add("ready"));
