// Keeps the page at the newest figures: asks for the version, and only if it is another fetches this page again and
// changes what differs.  Nothing that is the same is touched, so focus, selection, open details and sorting stay.
"use strict";
(() => {
  const EVERY_MS = 2000;
  const SLOWEST_MS = 30000;
  const words = document.getElementById("live-words");
  const pause = document.getElementById("pause");
  if (!words) return; // a page without figures
  const OWN = { DETAILS: ["open"], HTML: ["class", "data-theme"] }; // what the reader's side sets
  let wait = EVERY_MS;
  let timer = 0;

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE && (node.dataset.key || node.id)) || "";
  const alike = (a, b) => a.nodeName === b.nodeName && !keyOf(a) && !keyOf(b);

  function attributes(shown, wanted) {
    const own = OWN[shown.nodeName] ?? [];
    for (const { name, value } of [...wanted.attributes])
      if (!own.includes(name) && shown.getAttribute(name) !== value) shown.setAttribute(name, value);
    for (const { name } of [...shown.attributes])
      if (!own.includes(name) && !wanted.hasAttribute(name)) shown.removeAttribute(name);
  }

  function become(shown, wanted) {
    if (shown.nodeType !== Node.ELEMENT_NODE) {
      if (shown.nodeValue !== wanted.nodeValue) shown.nodeValue = wanted.nodeValue;
      return;
    }
    attributes(shown, wanted);
    if (shown.hasAttribute("data-keep")) return;
    const keyed = new Map([...shown.children].filter(keyOf).map((child) => [keyOf(child), child]));
    let at = shown.firstChild;
    for (const child of [...wanted.childNodes]) {
      const key = keyOf(child);
      const same = key ? keyed.get(key) : at && alike(at, child) ? at : null;
      if (!same || same.nodeName !== child.nodeName) {
        shown.insertBefore(document.importNode(child, true), at);
        continue;
      }
      if (same === at) at = at.nextSibling;
      else if (shown.moveBefore) shown.moveBefore(same, at); // which keeps the focus
      else shown.insertBefore(same, at);
      become(same, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function update(text) {
    const fetched = new DOMParser().parseFromString(text, "text/html");
    for (const table of fetched.querySelectorAll("table[id]")) {
      const shown = document.getElementById(table.id);
      if (shown && table.querySelector("button[data-sort]")) tables.like(table, shown);
    }
    const focused = document.activeElement;
    const anchor = document.elementFromPoint(innerWidth / 2, innerHeight / 3);
    const before = anchor?.getBoundingClientRect().top;
    document.title = fetched.title;
    document.documentElement.dataset.version = fetched.documentElement.dataset.version;
    become(document.querySelector("main"), fetched.querySelector("main"));
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    if (anchor?.isConnected && anchor !== document.documentElement && scrollY > 0)
      scrollBy({ top: anchor.getBoundingClientRect().top - before, behavior: "instant" });
    document.dispatchEvent(new Event("figures"));
  }

  async function look() {
    const answer = await fetch("/api/version", { cache: "no-store" });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) throw new Error(answer.statusText);
    const { version } = await answer.json();
    if (String(version) === document.documentElement.dataset.version) return;
    const page = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html" } });
    if (!page.ok) throw new Error(page.statusText);
    if (new URL(page.url).pathname !== location.pathname) return location.reload();
    update(await page.text());
  }

  async function turn() {
    if (!document.hidden && pause.getAttribute("aria-pressed") !== "true") {
      try {
        await look();
        wait = EVERY_MS;
        say("Live", true);
      } catch {
        wait = Math.min(SLOWEST_MS, 2 * wait);
        say("No connection: the figures are not updated", false);
      }
    }
    clearTimeout(timer);
    timer = setTimeout(turn, wait);
  }

  function say(text, on) {
    if (words.textContent !== text) words.textContent = text;
    words.parentElement.classList.toggle("off", !on);
  }

  pause.addEventListener("click", () => {
    const pressed = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(pressed));
    say(pressed ? "Paused" : "Live", !pressed);
    if (!pressed) turn();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
  timer = setTimeout(turn, wait);
})();
