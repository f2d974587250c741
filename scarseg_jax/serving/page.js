// The page of one study: it shows what the server answers, and sends what a person does.
// No figure is computed here.
"use strict";
const $ = (id) => document.getElementById(id);
const told = JSON.parse(document.body.dataset.told);
const SVG = "http://www.w3.org/2000/svg";
const SAY_AFTER_MS = 600; // so that a moving slider is not read out all the time
const FAR_PX = 5; // of an arrow with Shift
const BESIDE = ["probability", "dicom"]; // what the zip has if it is asked for
const TOOLS = { a: "add", e: "erase", i: "anterior", o: "inferior" };
let study = null; // pictures: what stays
let state = null; // what the server last answered
let version = 0;
let z = 0;
let at = [0, 0]; // row and column of the brush; whole at a pixel's centre
let line = null; // corners of the stroke that is being drawn
let drawing = false; // whether with the pointer

// ---- asking ----

async function ask(path, options) {
  const answer = await fetch(path, options);
  const said = answer.headers.get("content-type")?.includes("json") ? await answer.json() : {};
  if (!answer.ok) throw Object.assign(new Error(said.error ?? `no answer (${answer.status})`), { status: answer.status });
  return said;
}

let chain = Promise.resolve(); // deeds go one after the other, each on the last one's state

function deed(name, body) {
  chain = chain.then(async () => {
    try {
      const before = version;
      show(await ask(`do/${name}`, { method: "POST", body: JSON.stringify({ version, ...body?.() }) }));
      complain("");
      if (name === "paint" && version === before) say("Nothing painted: this is outside the myocardium.");
    } catch (error) {
      if (error.status === 409) open(await ask("study"));
      else if (state) show(state);
      complain(error.message);
    }
  });
  return chain;
}

let wanted = null; // the latest place of the sliders, of which those between are left out

function decide(event) { // what another slider rounds stays as it was
  const waiting = wanted !== null;
  const { threshold, min_area_mm2, min_ml } = wanted || state;
  const name = { threshold: "threshold", area: "min_area_mm2", least: "min_ml" }[event.target.id];
  wanted = { threshold, min_area_mm2, min_ml, [name]: +event.target.value };
  tellSliders(wanted);
  if (waiting) return;
  deed("decide", () => {
    const decision = wanted;
    wanted = null;
    return { decision };
  });
}

function complain(words) {
  $("error").textContent = words;
  $("error").hidden = !words;
}

// A button that is disabled loses the focus, and who is at it no longer knows where.
const turnOff = (button, off) => button.setAttribute("aria-disabled", off);
const off = (button) => button.getAttribute("aria-disabled") === "true";
const onClick = (id, act) => $(id).addEventListener("click", () => off($(id)) || act());

let later = 0;

function say(words) {
  clearTimeout(later);
  later = setTimeout(() => { $("spoken").textContent = words; }, SAY_AFTER_MS);
}

// ---- opening ----

const ending = (slot, name) =>
  told.endings[slot].filter((one) => one && name.toLowerCase().endsWith(one)).sort((a, b) => b.length - a.length)[0];

function check(slot, files) {
  for (const file of files) {
    if (ending(slot, file.name) === undefined && !told.endings[slot].includes("")) {
      throw new Error(`${slot}: a file of another kind; expected ${told.endings[slot].join(", ")}`);
    }
  }
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (state?.can_undo && !confirm("Open another study? What was done by hand with this one goes.")) return;
  const button = $("form").querySelector("button");
  if (off(button)) return;
  const files = { image: [...$("image").files], contours: [...$("contours").files] };
  const all = Object.values(files).flat();
  turnOff(button, true);
  complain("");
  try {
    if (!files.image.length) throw new Error("Image is missing; choose the image's file");
    Object.entries(files).forEach(([slot, own]) => check(slot, own));
    const bytes = all.reduce((sum, file) => sum + file.size, 0);
    if (all.length > told.limits.files) throw new Error(`more than ${told.limits.files} files; expected one study: choose its series alone, or send a zip`);
    if (bytes > told.limits.bytes) throw new Error(`the files are larger than ${Math.round(told.limits.bytes / 2 ** 20)} MiB together; expected one study: choose its series alone`);
    const { batch } = await ask("files", { method: "POST" });
    let sent = 0;
    for (const [slot, own] of Object.entries(files)) {
      for (const file of own) {
        sent += 1;
        $("status").textContent = `Sending file ${sent} of ${all.length} ...`;
        await ask(`files/${batch}/${slot}?ending=${ending(slot, file.name) ?? ""}`, { method: "POST", body: file });
      }
    }
    $("status").textContent = "Asking the networks; the first time this takes a minute ...";
    const asked = {
      kind: $("labels").value || $("table").value.trim(),
      series: $("series").value.split(",").map((one) => one.trim()).filter(Boolean),
      time: Math.round(+$("time").value) || 0,
      spacing: $("spacing").value,
      slice_axis: +$("slice_axis").value,
      force: $("force").checked,
    };
    open(await ask("read", { method: "POST", body: JSON.stringify({ batch, asked }) }));
    $("found").focus();
  } catch (error) {
    complain(error.message);
  } finally {
    turnOff(button, false);
    $("status").textContent = "";
  }
});

$("labels").addEventListener("change", () => { $("table-row").hidden = $("labels").value !== ""; });

for (const slot of ["image", "contours"]) {
  const zone = $(`drop-${slot}`);
  zone.addEventListener("dragover", () => zone.classList.add("over"));
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    zone.classList.remove("over");
    if (event.dataTransfer.files.length) $(slot).files = event.dataTransfer.files;
  });
}
// Dropped beside a zone, a file would be opened instead of the page.
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());

function open(all) {
  version = all.version;
  if (!all.pictures) return;
  study = all;
  z = Math.max(0, all.said.findIndex((said) => said.startsWith("scar")));
  const box = viewBox(all.pictures[0]);
  at = [(box[1] + box[3] / 2) / study.pixel_mm[0], (box[0] + box[2] / 2) / study.pixel_mm[1]].map(Math.round);
  line = null;
  $("key").replaceChildren(...all.outlines_key.map(([style, words]) => {
    const item = document.createElement("li");
    item.innerHTML = '<svg viewBox="0 0 36 14" aria-hidden="true"><line x1="3" x2="33" y1="7" y2="7"/></svg>';
    item.querySelector("line").setAttribute("class", `sample ${style}`);
    item.append(words);
    return item;
  }));
  const toggle = document.createElement("li");
  toggle.className = "bare";
  toggle.innerHTML = '<label><input id="outlines" type="checkbox" checked>outlines</label>';
  $("key").append(toggle);
  $("slices").querySelectorAll("label").forEach((label) => label.remove());
  all.pictures.forEach((picture, number) => {
    const label = document.createElement("label");
    label.innerHTML = `<input type="radio" name="slice" value="${number}">${picture}<span></span>`;
    label.querySelector("svg").setAttribute("aria-hidden", "true");
    label.querySelector("input").addEventListener("change", () => turnTo(number));
    $("slices").append(label);
  });
  $("inside-row").hidden = !all.has_wall;
  $("dicom-row").hidden = !all.is_dicom;
  for (const id of BESIDE) $(id).checked = false; // of each patient it is asked anew
  $("desk").hidden = false;
  $("choose").open = false;
  complain("");
  state = all;
  turnTo(z);
  show(all);
}

const viewBox = (picture) => picture.match(/viewBox="([^"]*)"/)[1].split(" ").map(Number);

// ---- showing ----

function show(now) {
  state = now;
  version = now.version;
  for (const [id, value] of Object.entries(now.figures)) $(id).textContent = value;
  if (wanted === null) {
    $("threshold").value = now.threshold;
    $("area").value = now.min_area_mm2;
    $("least").value = now.min_ml;
    tellSliders(now);
  }
  turnOff($("own"), now.networks_own);
  $("slices").querySelectorAll("label").forEach((label, number) => {
    label.querySelector(".called").setAttribute("d", now.outlines[number]);
    label.querySelector("span").textContent = `${number}: ${now.said[number]}`;
    label.querySelector("span").classList.toggle("scarred", now.outlines[number] !== "");
  });
  $("warned").textContent = now.warnings.length === 1 ? "1 warning" : now.warnings.length ? `${now.warnings.length} warnings` : "No warnings";
  $("warnings").replaceChildren(...now.warnings.map((words) => Object.assign(document.createElement("li"), { textContent: words })));
  for (const [name, eye] of Object.entries(now.eyes)) {
    const svg = $(`figure-${name}`).querySelector("svg");
    svg.setAttribute("aria-label", eye.words);
    $(`figure-${name}`).hidden = !now.referenced && name !== "scar"; // one is grey enough
    const texts = svg.querySelectorAll("text");
    svg.querySelectorAll("path").forEach((path, i) => {
      const [fill, ink, text] = eye.each[i];
      path.setAttribute("fill", fill);
      for (const own of [texts[2 * i], texts[2 * i + 1]]) own.setAttribute("fill", ink);
      texts[2 * i + 1].textContent = text;
    });
  }
  const [anterior, inferior] = now.insertions;
  $("turned").textContent = !now.referenced
    ? "Segments 1 to 16 are not known until the septum is shown: with the tool “Anterior insertion”, choose the point where the right ventricle's wall meets the left one's in front."
    : !anterior ? `Turned by ${now.turned_by}.`
    : `Turned by the anterior insertion, slice ${anterior[0]}${inferior ? `, and the inferior one, slice ${inferior[0]}` : ""}.`;
  $("corrected").textContent = now.corrected;
  turnOff($("undo"), !now.can_undo);
  turnOff($("clear"), !now.can_clear);
  $("accept").textContent = now.accepted ? "Take it back" : "Accept";
  $("download").hidden = !now.accepted;
  tellZip();
  $("accepted").textContent = now.accepted
    ? "Accepted, as it stands. The zip has mask, measures (JSON, CSV) and report."
    : "Accept what you see, and it can be downloaded. Any change takes that back.";
  draw();
  say(`Scar ${now.figures.scar_mass}, ${now.figures.scar_of_lv} of the LV.${now.accepted ? " Accepted; it can be downloaded." : ""}`);
}

function tellSliders(decision) {
  const said = [
    ["threshold", (+decision.threshold.toFixed(3)).toString()],
    ["area", `${+decision.min_area_mm2.toFixed(1)} mm²`],
    ["least", `${+decision.min_ml.toFixed(1)} ml`],
    ["width", `${$("width").value} mm`],
    ["bright", `${$("bright").value} %`],
    ["contrast", `${$("contrast").value} %`],
  ];
  for (const [id, words] of said) {
    $(`${id}-said`).textContent = words;
    $(id).setAttribute("aria-valuetext", words);
  }
}

function tellZip() {
  const beside = BESIDE.filter((id) => $(id).checked).map((id) => `&${id}=1`);
  $("download").href = `SCAR.zip?version=${version}${beside.join("")}`;
}

// A link alone would not say why there is no zip.
async function download() {
  const answer = await fetch($("download").href);
  if (!answer.ok) {
    if (answer.status === 409) open(await ask("study"));
    return complain((await answer.json()).error);
  }
  const address = URL.createObjectURL(await answer.blob());
  Object.assign(document.createElement("a"), { href: address, download: "SCAR.zip" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  complain("");
}

function turnTo(number) {
  if (line) endLine(true);
  z = Math.min(Math.max(number, 0), study.pictures.length - 1);
  $("slices").querySelectorAll("input")[z].checked = true;
  $("stage").innerHTML = study.pictures[z];
  $("stage").firstElementChild.setAttribute("aria-hidden", "true");
  draw();
}

const make = (name, attributes) => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};
const toMm = ([row, column]) => [(column + 0.5) * study.pixel_mm[1], (row + 0.5) * study.pixel_mm[0]];
const tool = () => document.querySelector("[name=tool]:checked").value;

// Draws what changes on the large slice: scar, insertions, the brush and its line.
function draw() {
  const svg = $("stage").firstElementChild;
  if (!svg) return;
  svg.querySelector(".called").setAttribute("d", state.outlines[z]);
  svg.querySelectorAll(".own").forEach((node) => node.remove());
  const own = make("g", { class: "own" });
  ["anterior", "inferior"].forEach((name, i) => {
    const point = state.insertions[i];
    if (!point || point[0] !== z) return;
    const [x, y] = toMm(point.slice(1));
    own.append(make("path", { class: `insertion ${name}`, d: `M${x - 3} ${y}h6M${x} ${y - 3}v6` }));
  });
  const paints = ["add", "erase"].includes(tool());
  const width = paints ? +$("width").value : 1;
  if (line) {
    const points = line.map((point) => toMm(point).join(" ")).join(" ");
    own.append(make("polyline", { class: `line ${tool()}`, points: line.length > 1 ? points : `${points} ${points}`, "stroke-width": width }));
  }
  const [x, y] = toMm(at);
  own.append(make("circle", { class: `brush ${tool()}`, cx: x, cy: y, r: width / 2 }));
  svg.append(own);
  $("which").textContent = `Slice ${z}: ${state.said[z]}`;
}

// ---- painting ----

function place(event) {
  const svg = $("stage").firstElementChild;
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [point.y / study.pixel_mm[0] - 0.5, point.x / study.pixel_mm[1] - 0.5];
}

function endLine(keep) {
  const points = line;
  line = null;
  drawing = false;
  if (keep && points) paint(points);
  else draw();
}

function paint(points) {
  const stroke = { slice: z, points_px: points, width_mm: +$("width").value, erase: tool() === "erase", inside: $("inside").checked };
  deed("paint", () => ({ stroke }));
}

function showInsertion(point) {
  const which = tool(), slice = z;
  deed("turn", () => {
    const [anterior, inferior] = state.insertions;
    return { anterior, inferior, [which]: [slice, ...point] };
  });
}

const stage = $("stage");
stage.addEventListener("pointerdown", (event) => {
  if (!event.isPrimary || event.button) return;
  event.preventDefault();
  stage.focus({ preventScroll: true, focusVisible: false });
  at = place(event);
  if (!["add", "erase"].includes(tool())) return showInsertion(at);
  stage.setPointerCapture(event.pointerId);
  line = [at];
  drawing = true;
  draw();
});
stage.addEventListener("pointermove", (event) => {
  if (!study || (!drawing && line)) return;
  at = place(event);
  if (drawing) {
    const last = line.at(-1);
    if (Math.hypot(at[0] - last[0], at[1] - last[1]) > 0.3) line.push(at);
  }
  draw();
});
stage.addEventListener("pointerup", () => drawing && endLine(true));
stage.addEventListener("pointercancel", () => drawing && endLine(false));

stage.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || drawing) return;
  const step = event.shiftKey ? FAR_PX : 1;
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const paints = ["add", "erase"].includes(tool());
  if (moves[event.key]) {
    at = at.map((value, axis) => Math.min(Math.max(Math.round(value) + step * moves[event.key][axis], 0), study.size_px[axis] - 1));
    line?.push(at);
    draw();
  } else if (event.key === " ") {
    if (line) endLine(true);
    else if (paints) paint([at]);
    else showInsertion(at);
  } else if (event.key === "Enter") {
    if (line) endLine(true);
    else if (!paints) showInsertion(at);
    else { line = [at]; draw(); }
  } else if (event.key === "Escape") endLine(false);
  else if (event.key === "PageDown") turnTo(z + 1);
  else if (event.key === "PageUp") turnTo(z - 1);
  else if (event.key === "+" || event.key === "=") setWidth(1);
  else if (event.key === "-") setWidth(-1);
  else if (TOOLS[event.key.toLowerCase()]) {
    if (line) endLine(true);
    document.querySelector(`[name=tool][value=${TOOLS[event.key.toLowerCase()]}]`).checked = true;
    draw();
  } else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && study && !drawing && event.target.type !== "text") {
    event.preventDefault();
    if (line) endLine(false);
    else if (state.can_undo) deed("undo");
  }
});

function setWidth(by) {
  $("width").value = +$("width").value + by;
  tellSliders(state);
  draw();
}

$("width").addEventListener("input", () => setWidth(0));
for (const id of ["bright", "contrast"]) { // of the picture alone: nothing is measured in it
  $(id).addEventListener("input", () => {
    $("stage").style.setProperty(`--${id}`, `${$(id).value}%`);
    tellSliders(wanted || state);
  });
}
document.querySelectorAll("[name=tool]").forEach((one) => one.addEventListener("change", () => study && draw()));
$("threshold").addEventListener("input", decide);
$("area").addEventListener("input", decide);
$("least").addEventListener("input", decide);
onClick("own", () => deed("decide", () => ({ decision: null })));
for (const id of BESIDE) $(id).addEventListener("change", tellZip);
$("download").addEventListener("click", (event) => {
  event.preventDefault();
  download().catch((error) => complain(error.message));
});
onClick("undo", () => deed("undo"));
onClick("clear", () => deed("clear"));
onClick("accept", () => {
  const accepted = !state.accepted;
  deed("accept", () => ({ accepted }));
});

ask("study").then(open).catch((error) => complain(error.message));
