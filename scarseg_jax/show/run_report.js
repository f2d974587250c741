// What is folded away is printed too.
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = [...document.querySelectorAll("details:not([open])")];
  unfolded.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => unfolded.forEach((one) => { one.open = false; }));

(() => {
  const find = (selector) => document.querySelector(selector);
  const { layers, own, slices } = JSON.parse(find("#slices-data").textContent);
  const svg = (tag, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    element.textContent = text;
    return element;
  };
  // This run's outlines are as in the small pictures; others have a colour each.
  const styles = own === 3 ? ["truth", "called", "myocardium"] : ["truth", "called", "any", "myocardium"];
  const colours = ["#ff8f5a", "#c79bff", "#6fe3f5", "#ff9fc8", "#b7e36b", "#e0b04a", "#8fb3ff", "#ff6b6b"];
  const style = (element, i) => {
    if (i < own) return element.classList.add(styles[i]);
    element.style.stroke = colours[(i - own) % colours.length];
    if (Math.floor((i - own) / colours.length) % 2) element.style.strokeDasharray = "2 2";
  };
  const picture = find("#slice"), image = picture.querySelector("image"), marks = [...picture.querySelectorAll(".mark")];
  const grid = picture.querySelector(".grid"), bar = picture.querySelector(".bar"), length = picture.querySelector(".length");
  const select = find("#patient"), body = find("#layers tbody");
  const sliders = { width: find("#width"), level: find("#level"), zoom: find("#zoom") };
  const smooth = find("#smooth");
  const outlines = layers.map((name, i) => {
    const outline = svg("path", {});
    style(outline, i);
    grid.append(outline);
    const row = body.insertRow(), label = document.createElement("label"), box = document.createElement("input");
    const sample = svg("svg", { viewBox: "0 0 36 14", "aria-hidden": "true" });
    sample.append(svg("line", { x1: 3, x2: 33, y1: 7, y2: 7, class: "sample" }));
    style(sample.firstChild, i);
    box.type = "checkbox";
    box.checked = i < own;
    box.addEventListener("change", draw);
    label.append(box, sample, name);
    row.insertCell().append(label);
    return { outline, box, area: row.insertCell(), dice: row.insertCell() };
  });
  // Below, drawn first: what is drawn last is seen where lines meet.
  [...grid.querySelectorAll("path")].reverse().forEach((path) => grid.append(path));
  const patients = [...new Set(slices.map((s) => s.patient))];
  patients.forEach((name) => select.append(new Option(name)));
  let now = 0;

  function draw() {
    const s = slices[now], [height, width] = s.size, [y, x] = s.mm;
    const whole = Math.max(height * y, width * x), side = whole / sliders.zoom.value;
    const left = (width * x - side) / 2, top = (height * y - side) / 2, unit = side / 100;
    picture.setAttribute("viewBox", `${left} ${top} ${side} ${side}`);
    Object.entries({ href: s.image, width, height }).forEach(([name, value]) => image.setAttribute(name, value));
    image.style.imageRendering = smooth.checked ? "auto" : "pixelated";
    grid.setAttribute("transform", `scale(${x} ${y})`);
    outlines.forEach(({ outline, box, area, dice }, i) => {
      outline.setAttribute("d", box.checked ? s.outlines[i] : "");
      [area.textContent, dice.textContent] = s.figures[i];
    });
    const mm = [50, 20, 10, 5].find((one) => one < side / 4) || 2;
    const foot = top + 96 * unit, start = left + 4 * unit;
    bar.setAttribute("d", `M${start} ${foot}h${mm}`);
    const write = (text, words, u, v) => {
      text.setAttribute("transform", `translate(${left + u * unit} ${top + v * unit}) scale(${unit})`);
      text.textContent = words;
    };
    write(length, `${mm} mm`, 4, 94);
    [[3, 51], [97, 51], [50, 5], [50, 97]].forEach(([u, v], i) => write(marks[i], s.marks[i], u, v));
    show();
    select.value = s.patient;
    const words = `${s.patient}, slice ${s.slice}`;
    picture.setAttribute("aria-label", words);
    find("#which").textContent = `${words} (${now + 1} of ${slices.length})`;
    const failed = { missed: "Scar missed", false: "Scar called where there is none" }[s.failure];
    const about = find("#about-slice");
    about.textContent = `Tested by fold ${s.fold}. `;
    if (failed) about.append(Object.assign(document.createElement("strong"), { textContent: failed }));
  }
  function show() {
    const [low, high] = slices[now].range, wide = +sliders.width.value, level = +sliders.level.value;
    picture.querySelectorAll("feComponentTransfer > *").forEach((channel) => {
      channel.setAttribute("slope", 1 / wide);
      channel.setAttribute("intercept", 0.5 - level / wide);
    });
    const say = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3));
    find("#width-said").textContent = say(wide * (high - low));
    find("#level-said").textContent = say(low + level * (high - low));
    find("#zoom-said").textContent = `${(+sliders.zoom.value).toFixed(1)} ×`;
  }
  const go = (to) => { now = (to + slices.length) % slices.length; draw(); };
  const first = (name) => slices.findIndex((s) => s.patient === name);
  const patient = (step) => {
    const at = patients.indexOf(slices[now].patient) + step;
    go(first(patients[(at + patients.length) % patients.length]));
  };
  const failure = () => {
    for (let step = 1; step <= slices.length; step++) {
      const at = (now + step) % slices.length;
      if (slices[at].failure) return go(at);
    }
  };
  const reset = () => {
    Object.values(sliders).forEach((slider) => { slider.value = slider.defaultValue; });
    draw();
  };
  Object.entries({
    "#previous": () => go(now - 1), "#next": () => go(now + 1), "#failure": failure, "#reset": reset,
  }).forEach(([selector, act]) => find(selector).addEventListener("click", act));
  find("#failure").disabled = !slices.some((s) => s.failure);
  select.addEventListener("change", () => go(first(select.value)));
  smooth.addEventListener("change", draw);
  sliders.zoom.addEventListener("input", draw);
  [sliders.width, sliders.level].forEach((slider) => slider.addEventListener("input", show));
  let grip = null;
  picture.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button) return;
    grip = { x: event.clientX, y: event.clientY, width: +sliders.width.value, level: +sliders.level.value };
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", (event) => {
    if (!grip) return;
    sliders.width.value = grip.width + (event.clientX - grip.x) / 400;
    sliders.level.value = grip.level + (event.clientY - grip.y) / 400;
    show();
  });
  ["pointerup", "pointercancel"].forEach((end) => picture.addEventListener(end, () => { grip = null; }));
  const viewer = find("#viewer");
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input[type=range]")) return;
    const keys = { ArrowLeft: () => go(now - 1), ArrowRight: () => go(now + 1), ArrowUp: () => patient(-1), ArrowDown: () => patient(1), f: failure };
    const one = outlines[Number(event.key) - 1];
    if (keys[event.key]) keys[event.key]();
    else if (one) { one.box.checked = !one.box.checked; draw(); }
    else return;
    event.preventDefault();
  });
  document.querySelectorAll("a[data-at]").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    go(+link.dataset.at);
    viewer.focus({ preventScroll: true });
    find("#slices").scrollIntoView();
  }));
  draw();
})();
