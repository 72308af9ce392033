"use strict";
// Comfort only: every page works without this file.
(() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const isTyping = (element) => element.matches("input, select, textarea");

  // Keys: "/" searches, "g" and a letter goes to a page.
  let awaitsLetter = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "/") {
      find(".search input")?.focus();
      event.preventDefault();
    } else if (awaitsLetter) {
      find(`nav a[data-key="${CSS.escape(event.key)}"]`)?.click();
    }
    awaitsLetter = event.key === "g";
  });

  // Copy buttons.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button || !navigator.clipboard) return;
    navigator.clipboard.writeText(button.dataset.copy).then(() => {
      button.title = "Copied";
      button.classList.add("copied");
    });
  });

  // Charts: one tab stop, arrows move along and between series, Enter follows, Escape hides.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const show = (link) => {
    const box = link.getBoundingClientRect();
    tip.textContent = link.dataset.tip;
    tip.hidden = false;
    tip.style.left = `${Math.min(box.left + 12, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.max(8, box.top - tip.offsetHeight - 8)}px`;
  };
  for (const chart of document.querySelectorAll(".chart")) {
    const links = [...chart.querySelectorAll("a[data-tip]")];
    links.forEach((link, index) => link.setAttribute("tabindex", index ? "-1" : "0"));
    const move = (from, to) => {
      if (!to) return;
      from.setAttribute("tabindex", "-1");
      to.setAttribute("tabindex", "0");
      to.focus();
    };
    chart.addEventListener("keydown", (event) => {
      const link = event.target.closest("a[data-tip]");
      if (!link) return;
      const at = links.indexOf(link);
      const mates = (series) => links.filter((other) => other.dataset.series === String(series));
      if (event.key === "ArrowRight") move(link, links[at + 1]);
      else if (event.key === "ArrowLeft") move(link, links[at - 1]);
      else if (event.key === "ArrowDown") move(link, mates(Number(link.dataset.series) + 1)[0]);
      else if (event.key === "ArrowUp") move(link, mates(Number(link.dataset.series) - 1)[0]);
      else if (event.key === "Escape") tip.hidden = true;
      else return;
      event.preventDefault();
    });
    for (const link of links) {
      for (const name of ["focus", "mouseenter"]) link.addEventListener(name, () => show(link));
      for (const name of ["blur", "mouseleave"]) link.addEventListener(name, () => { tip.hidden = true; });
    }
  }

  // A form is sent once: a second click while its answer is awaited does nothing.
  const AWAITED_MS = 10000;
  const sentForms = new Map();
  const contentOf = (form) => {
    const content = new URLSearchParams(new FormData(form));
    content.delete("csrfmiddlewaretoken"); // another one each time it is drawn
    return content;
  };
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    const { name = "", value = "" } = event.submitter || {};
    const key = [form.action, name, value, form.enctype.startsWith("multipart") ? "" : contentOf(form)].join(" ");
    if (Date.now() - (sentForms.get(key) || 0) < AWAITED_MS) event.preventDefault();
    else sentForms.set(key, Date.now());
  });
  addEventListener("pageshow", () => sentForms.clear());

  // A live part is not exchanged under a pressed button, and keeps the focus and how far it is scrolled.
  const PRESSED_MS = 3000;
  let pressedAt = 0;
  document.addEventListener("pointerdown", () => { pressedAt = Date.now(); });
  for (const name of ["pointerup", "pointercancel", "dragend"]) {
    document.addEventListener(name, () => { pressedAt = 0; });
  }
  const likeness = (element) => [
    element.tagName, element.getAttribute("href"), element.getAttribute("aria-labelledby"),
    element.form ? `${element.form.getAttribute("action")} ${contentOf(element.form)}` : "",
  ].join(" ");
  const focusable = (part) => [...part.querySelectorAll("a[href], button, input, select, summary, [tabindex]")];
  let kept = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, xhr } = event.detail;
    if (Date.now() - pressedAt < PRESSED_MS && xhr.status !== 286) event.detail.shouldSwap = false;
    const focused = document.activeElement;
    const alike = focusable(target).filter((element) => likeness(element) === likeness(focused));
    kept = {
      likeness: target.contains(focused) ? likeness(focused) : "",
      index: alike.indexOf(focused),
      scrolled: [...target.querySelectorAll(".scroll")].map((region) => [likeness(region), region.scrollLeft]),
    };
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (!kept) return;
    const { target } = event.detail;
    const scrolled = new Map(kept.scrolled);
    for (const region of target.querySelectorAll(".scroll")) region.scrollLeft = scrolled.get(likeness(region)) || 0;
    const alike = focusable(target).filter((element) => likeness(element) === kept.likeness);
    (alike[kept.index] || alike[0])?.focus({ preventScroll: true });
  });

  // Live pages: pause while hidden, tell when the server does not answer.
  let failures = 0;
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.target.hasAttribute("data-poll")) event.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    failures = event.detail.successful || event.detail.xhr.status === 286 ? 0 : failures + 1;
    const line = find("#connection");
    if (line) line.hidden = failures < 3;
    if (!failures && line) line.dataset.last = new Date().toLocaleTimeString();
    if (failures >= 3 && line) line.textContent = `Connection lost, last update ${line.dataset.last || "unknown"}.`;
  });

  // Forms of filters submit when a choice changes.
  for (const form of document.querySelectorAll("form[data-auto]")) {
    form.addEventListener("change", () => form.requestSubmit());
  }
  // Another row of a form without asking the server: a copy of the last one, its first choice empty.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-adds-row]");
    const rows = button && find("[data-rows]", button.form);
    if (!rows) return;
    event.preventDefault();
    const row = rows.lastElementChild.cloneNode(true);
    const number = rows.children.length + 1;
    for (const element of row.querySelectorAll("[id]")) element.id = element.id.replace(/\d+$/, number);
    for (const label of row.querySelectorAll("label")) label.htmlFor = label.htmlFor.replace(/\d+$/, number);
    for (const list of row.querySelectorAll(".errorlist")) list.remove();
    rows.append(row);
    const first = find("select", row);
    first.value = "";
    first.removeAttribute("aria-invalid");
    first.focus();
  });

  // An upload that is too large is told before it travels.
  for (const form of document.querySelectorAll("form[data-upload]")) {
    const problem = find("[data-problem]", form);
    form.addEventListener("submit", (event) => {
      const files = [...form.querySelectorAll('input[type="file"]')].flatMap((input) => [...input.files]);
      const bytes = files.reduce((sum, file) => sum + file.size, 0);
      const said = (number) => `${(number / 1e6).toFixed(1)} MB`;
      problem.textContent = !files.length ? "No file was chosen."
        : bytes > Number(form.dataset.most) ? `These files have ${said(bytes)}; at most ${said(Number(form.dataset.most))} can be taken.`
        : files.length > Number(form.dataset.files) ? `These are ${files.length} files; at most ${form.dataset.files} can be taken.`
        : "";
      problem.hidden = !problem.textContent;
      if (problem.textContent) event.preventDefault();
      else find("[data-progress]", form).textContent = `Uploading ${files.length} files, ${said(bytes)}…`;
    });
  }
  // A chosen transfer syntax is added to the lines of its context.
  document.addEventListener("change", (event) => {
    const list = event.target.closest("select[data-adds-to]");
    if (!list || !list.value) return;
    const lines = document.getElementById(list.dataset.addsTo);
    lines.value = [lines.value.trim(), list.value].filter(Boolean).join("\n");
    list.value = "";
  });
})();
