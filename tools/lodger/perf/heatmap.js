// Search and zoom of a heat map. Each <rect> of class "c" is a cell; its title says what ran there.
(function () {
  "use strict";
  var svg = document.documentElement;
  var cells = Array.from(svg.querySelectorAll("rect.c"));
  var plot = document.getElementById("plot");
  var left = +plot.getAttribute("data-left"), width = +plot.getAttribute("data-width");
  var pattern = null, from = 0, to = 1, start = null;

  function draw() {
    var matched = 0, all = 0;
    cells.forEach(function (cell) {
      var n = +cell.getAttribute("n"), a = +cell.getAttribute("a"), b = +cell.getAttribute("b");
      var x = left + (a - from) / (to - from) * width, w = (b - a) / (to - from) * width;
      var visible = b > from && a < to;
      cell.style.display = visible ? "" : "none";
      cell.setAttribute("x", Math.max(x, left));
      cell.setAttribute("width", Math.max(Math.min(x + w, left + width) - Math.max(x, left), 0.5));
      var hit = pattern === null || pattern.test(cell.querySelector("title").textContent);
      cell.style.opacity = hit ? 1 : 0.15;
      if (visible) { all += n; matched += hit ? n : 0; }
    });
    document.getElementById("matched").textContent = pattern === null ? "" :
      "in cells that match: " + (all ? (100 * matched / all).toFixed(1) : 0) + " %";
    document.getElementById("reset").style.display = from === 0 && to === 1 ? "none" : "";
  }

  function search(text) {
    try { pattern = text ? new RegExp(text) : null; } catch (error) { pattern = null; }
    draw();
  }

  function place(event) {
    var box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    var x = (event.clientX - box.left) * view.width / box.width;
    return Math.min(Math.max(from + (x - left) / width * (to - from), 0), 1);
  }

  svg.addEventListener("mousedown", function (event) {
    start = event.target.classList.contains("b") ? null : place(event);
  });
  svg.addEventListener("mouseup", function (event) {
    var end = place(event);
    if (start !== null && Math.abs(end - start) > 0.01 * (to - from)) {
      from = Math.min(start, end);
      to = Math.max(start, end);
      draw();
    }
    start = null;
  });
  svg.addEventListener("click", function (event) {
    if (event.target.id === "reset") { from = 0; to = 1; draw(); }
    if (event.target.id === "search") { search(prompt("Function or command (regular expression):", "")); }
  });
  svg.addEventListener("mousemove", function (event) {
    var title = event.target.classList.contains("c") ? event.target.querySelector("title") : null;
    document.getElementById("details").textContent = title ? title.textContent : "";
  });
  window.addEventListener("keydown", function (event) {
    if ((event.ctrlKey && event.key === "f") || event.key === "/") {
      event.preventDefault();
      search(prompt("Function or command (regular expression):", ""));
    }
    if (event.key === "Escape") { from = 0; to = 1; search(""); }
  });
  window.heatmap = { search: search };
  draw();
})();
