// Zoom and search of a flame graph. Each <g> of class "f" has the attributes s (first sample) and
// n (number of samples) of its frame, l (level) and h (its text).
(function () {
  "use strict";
  var svg = document.documentElement;
  var frames = Array.from(svg.querySelectorAll("g.f"));
  var width = +svg.getAttribute("data-width"), total = +svg.getAttribute("data-total");
  var first = 0, count = total, pattern = null;

  function value(frame, name) { return +frame.getAttribute(name); }

  function draw() {
    var matched = [];
    frames.forEach(function (frame) {
      var s = value(frame, "s"), n = value(frame, "n");
      var ancestor = s <= first && s + n >= first + count;
      var x = ancestor ? 0 : (s - first) * width / count;
      var w = ancestor ? width : n * width / count;
      var visible = w >= 0.3 && (ancestor || (s >= first && s + n <= first + count));
      frame.style.display = visible ? "" : "none";
      if (!visible) { return; }
      var rect = frame.querySelector("rect"), text = frame.querySelector("text");
      rect.setAttribute("x", x);
      rect.setAttribute("width", Math.max(w - 0.5, 0.3));
      rect.style.opacity = ancestor && n > count ? 0.5 : 1;
      text.setAttribute("x", x + 3);
      var name = frame.getAttribute("h"), letters = Math.floor((w - 6) / 6.6);
      text.textContent = letters < 3 ? "" : name.length <= letters ? name :
        name.slice(0, letters - 2) + "..";
      var hit = pattern !== null && pattern.test(name);
      rect.style.fill = hit ? "#e600e6" : "";
      if (hit && visible && n <= count) { matched.push([s, s + n]); }
    });
    // Frames lie within each other: what an outer one covers is counted once.
    matched.sort(function (a, b) { return a[0] - b[0] || b[1] - a[1]; });
    var sum = 0, end = -1;
    matched.forEach(function (range) {
      if (range[0] >= end) { sum += range[1] - range[0]; end = range[1]; }
    });
    document.getElementById("matched").textContent = pattern === null ? "" :
      "matched: " + (100 * sum / count).toFixed(1) + " %";
    document.getElementById("reset").style.display = count === total ? "none" : "";
  }

  function search(text) {
    try { pattern = text ? new RegExp(text) : null; } catch (error) { pattern = null; }
    draw();
  }

  svg.addEventListener("click", function (event) {
    var frame = event.target.closest("g.f");
    if (frame) { first = value(frame, "s"); count = value(frame, "n"); draw(); }
    if (event.target.id === "reset") { first = 0; count = total; draw(); }
    if (event.target.id === "search") { search(prompt("Functions (regular expression):", "")); }
  });
  svg.addEventListener("mousemove", function (event) {
    var frame = event.target.closest("g.f");
    document.getElementById("details").textContent =
      frame ? frame.querySelector("title").textContent : "";
  });
  window.addEventListener("keydown", function (event) {
    if ((event.ctrlKey && event.key === "f") || event.key === "/") {
      event.preventDefault();
      search(prompt("Functions (regular expression):", ""));
    }
    if (event.key === "Escape") { first = 0; count = total; search(""); }
  });
  window.flamegraph = { search: search };
  draw();
})();
