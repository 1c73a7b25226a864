// What pages do beside being pages: local times, copy buttons, the theme, and live rows. Everything works without it.
"use strict";

const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

// Times: local, with UTC in the title. The year is left out where it is this one.
const localize = (element) => {
  const time = new Date(element.dateTime);
  if (Number.isNaN(time.valueOf())) return;
  const options = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
  if (time.getFullYear() !== new Date().getFullYear()) options.year = "numeric";
  element.textContent = time.toLocaleString(undefined, options);
};
each("time[datetime]", localize);

// As the server writes texts of others: each character is seen, and none changes the direction of the others.
const visible = (text) => String(text).replace(/(?! )[\p{C}\p{Z}]/gu, (found) => {
  const code = found.codePointAt(0).toString(16);
  return code.length > 4 ? `\\U${code.padStart(8, "0")}` : code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
});

// Copying.
each(".copier", (button) => {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async (event) => {
    event.preventDefault();
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  });
});

// The theme: that of the system until the person chooses one.
const choose = (theme) => { document.documentElement.dataset.theme = theme; };
try { if (localStorage.theme) choose(localStorage.theme); } catch { /* no storage: the system's */ }
each("button.theme", (button) => {
  button.hidden = false;
  button.addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    choose(dark ? "light" : "dark");
    try { localStorage.theme = dark ? "light" : "dark"; } catch { /* it lasts for this page */ }
  });
});

// Live rows: one stream of events a session. Texts of the log become text, never markup.
each("[data-live]", (body) => {
  const state = document.querySelector("[data-live-state]");
  const say = (text) => { if (state) state.textContent = text; };
  const source = new EventSource(body.dataset.live);
  const template = document.querySelector("template[data-live-row]");
  source.onopen = () => say("live");
  source.onerror = () => say("connecting again");
  source.addEventListener("end", () => { source.close(); say("ended: load the page again"); });
  source.onmessage = (message) => {
    const item = JSON.parse(message.data);
    const row = template.content.cloneNode(true);
    row.querySelectorAll("[data-member]").forEach((element) => {
      const value = element.dataset.member.split(".").reduce((found, name) => found?.[name], item);
      if (element.localName === "time") { element.dateTime = value; element.title = `${value} UTC`; localize(element); return; }
      if (element.dataset.words) {
        const [yes, no] = element.dataset.words.split(",");
        element.textContent = value ? yes : no;
        element.classList.add(value ? "good" : "bad");
        return;
      }
      if (element.dataset.prefix) element.href = element.dataset.prefix + encodeURIComponent(value);
      element.textContent = value == null ? "–" : visible(value);
    });
    body.prepend(row);
    while (body.rows.length > 200) body.deleteRow(-1);
  };
});
