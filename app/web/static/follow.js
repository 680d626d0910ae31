// Follows a pending link: asks for the page again and puts its new text in place, until it is no longer pending.
// Without this script the page has a "Check again" link that does the same by hand.
"use strict";

(() => {
  const EVERY_MS = 1500;
  const LONGEST_MS = 15000;
  const GIVE_UP_AFTER_MS = 30 * 60 * 1000;
  const began = Date.now();
  let wait = EVERY_MS;

  async function look() {
    const here = document.getElementById("status");
    if (!here || here.dataset.state !== "pending" || Date.now() - began > GIVE_UP_AFTER_MS) {
      return;
    }
    if (!document.hidden) {
      try {
        const answer = await fetch("/connect/status", {
          headers: { Accept: "text/html", "X-Sonobridge-Follow": "1" },
          redirect: "manual",
          cache: "no-store",
        });
        if (answer.type === "opaqueredirect") {
          // signed out meanwhile: let the person see the sign-in page
          window.location.reload();
          return;
        }
        if (answer.ok) {
          put(here, await answer.text());
        }
      } catch {
        // offline for a moment: the next look tells
      }
    }
    wait = Math.min(wait * 1.2, LONGEST_MS);
    window.setTimeout(look, wait);
  }

  function put(here, text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    const there = page.getElementById("status");
    if (!there || there.innerHTML === here.innerHTML) {
      return;
    }
    here.replaceChildren(...there.childNodes);
    here.dataset.state = there.dataset.state;
    document.title = page.title;
  }

  document.addEventListener("visibilitychange", () => {
    wait = EVERY_MS;
  });
  window.setTimeout(look, wait);
})();
