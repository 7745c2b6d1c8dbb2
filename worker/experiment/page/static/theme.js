// Before anything is painted: that there are scripts, and the theme that was chosen here.
"use strict";
(() => {
  const root = document.documentElement;
  const names = { "": "system", light: "light", dark: "dark" };
  const stored = () => { try { return localStorage.getItem("theme") || ""; } catch { return ""; } };
  const show = (theme) => {
    if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
    const words = document.querySelector("#theme span");
    if (words) words.textContent = names[theme] ?? theme;
    document.dispatchEvent(new Event("themechange"));
  };
  root.classList.add("scripts");
  show(stored());
  document.addEventListener("DOMContentLoaded", () => {
    show(stored());
    document.getElementById("theme").addEventListener("click", () => {
      const order = Object.keys(names);
      const next = order[(order.indexOf(root.dataset.theme ?? "") + 1) % order.length];
      try { localStorage.setItem("theme", next); } catch { /* then it holds for this page alone */ }
      show(next);
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(stored()));
})();
