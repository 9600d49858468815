// The blind test: every real piece and as many generated ones, without names, in an order that nobody knows.
"use strict";

{
  const byId = (id) => document.getElementById(id);
  const [start, score, dealt, shelves] = ["blind", "score", "dealt", "shelves"].map(byId);
  let guesses = [];

  const rollsOf = (origin) => [...shelves.querySelectorAll(`[data-origin="${origin}"] .roll`)];

  function shuffled(items) {
    const rest = [...items];
    return items.map(() => rest.splice(Math.floor(Math.random() * rest.length), 1)[0]);
  }

  // The probability that a fair coin guesses at least `right` of `n`.
  function byChance(right, n) {
    let ways = 1;
    let sum = 0;
    for (let k = n; k >= right; k--) {
      sum += ways;
      ways *= k / (n - k + 1);
    }
    return sum / 2 ** n;
  }

  function tell() {
    const right = guesses.filter(Boolean).length;
    const total = dealt.children.length;
    score.textContent = `${right} of ${guesses.length} right; ${total - guesses.length} to go.`;
    if (guesses.length < total) return;
    const percent = (100 * byChance(right, total)).toPrecision(2);
    score.textContent = `${right} of ${total} right. A tossed coin does as well or better ${percent} % of the time.`;
  }

  function question(original, index) {
    const item = byId("question").content.cloneNode(true).firstElementChild;
    const roll = original.cloneNode(true);
    const name = `piece ${index + 1}`;
    roll.setAttribute("aria-label", `Play ${name}`);
    roll.querySelector(".notes").removeAttribute("stroke"); // the colour would tell
    const answer = item.querySelector(".answer");
    answer.setAttribute("aria-label", `Is ${name} real or generated?`);
    answer.addEventListener("click", ({ target }) => {
      if (!target.value) return;
      const { origin } = original.closest("[data-origin]").dataset;
      const right = target.value === origin;
      const told = document.createElement("p");
      told.className = right ? "correct" : "wrong";
      told.tabIndex = -1;
      told.textContent = `${right ? "Right" : "Wrong"}: ${original.getAttribute("aria-label").replace("Play ", "")}`;
      answer.replaceWith(told);
      told.focus(); // the button that had it is gone
      guesses.push(right);
      tell();
    });
    item.prepend(roll);
    return item;
  }

  start.addEventListener("click", () => {
    Player.stop();
    const blind = start.getAttribute("aria-pressed") === "false";
    start.setAttribute("aria-pressed", blind);
    shelves.hidden = blind;
    dealt.hidden = score.hidden = !blind;
    guesses = [];
    if (blind) {
      const real = rollsOf("real");
      const pieces = shuffled([...real, ...shuffled(rollsOf("generated")).slice(0, real.length)]);
      dealt.replaceChildren(...pieces.map(question));
      tell();
    } else {
      dealt.replaceChildren();
    }
  });
  start.parentElement.hidden = false; // without a script there is no test
}
