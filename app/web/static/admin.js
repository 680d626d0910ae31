// Keeps an open admin page up to date, and shows previews in place. Without this script pages are as they were opened,
// and a preview opens by its link.
"use strict";

(() => {
  const PAUSE_MS = 1500;
  const FOLLOW = { "X-Sonobridge-Follow": "1" };
  let last = null;

  async function listen() {
    if (!document.hidden) {
      try {
        const answer = await fetch("/admin/live", { headers: FOLLOW, cache: "no-store", redirect: "manual" });
        if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
          window.location.reload();
          return;
        }
        if (answer.ok) {
          await read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
        }
      } catch {
        // offline for a moment: the next stream tells
      }
    }
    window.setTimeout(listen, PAUSE_MS);
  }

  async function read(reader) {
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data: ")) {
          await heard(line.slice(6));
        }
      }
    }
  }

  async function heard(news) {
    if (last === null || last === news) {
      last = news;
      return;
    }
    last = news;
    const here = document.getElementById("live");
    // somebody is using what would be replaced: a form or a question that is open
    if (here.contains(document.activeElement) || here.querySelector("details[open], .preview")) {
      return;
    }
    const answer = await fetch(window.location.href, { headers: { Accept: "text/html", ...FOLLOW }, cache: "no-store" });
    if (!answer.ok) {
      return;
    }
    const there = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (there && there.innerHTML !== here.innerHTML) {
      here.replaceChildren(...there.childNodes);
    }
  }

  function preview(event) {
    const link = event.target.closest("a[data-preview]");
    if (!link || event.ctrlKey || event.metaKey) {
      return;
    }
    event.preventDefault();
    const shown = document.createElement(link.dataset.preview === "mp4" ? "video" : "img");
    shown.className = "preview";
    shown.src = link.href;
    if (link.dataset.preview === "mp4") {
      shown.controls = true;
    } else {
      shown.alt = link.textContent;
    }
    link.replaceWith(shown);
  }

  document.addEventListener("click", preview);
  if (document.getElementById("live")) {
    listen();
  }
})();
