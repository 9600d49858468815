// Piano rolls that play. A roll is a button around an SVG whose path has one "M onset row h duration" for each note.
"use strict";

const Player = (() => {
  const AHEAD = 1.5; // seconds that notes are handed over before they sound: timers of hidden pages come once a second
  const EVERY = 40; // milliseconds from one look at the clock to the next
  const FADE = 0.5; // seconds that the last note may take to die away
  const TOP = 127; // the pitch of row 0

  const transport = document.querySelector(".transport");
  const status = transport.querySelector(".playing");
  const secondsPerUnit = Number(transport.dataset.secondsPerUnit);
  let synth = null; // made by the first press: browsers grant sound to gestures only
  let current = null; // what plays: roll, notes, the next one to hand over, began (by the clock of sound), timer

  function notesOf(roll) {
    const path = roll.querySelector(".notes");
    const velocities = path.dataset.velocities.split(" ").map(Number);
    return [...path.getAttribute("d").matchAll(/M(\S+) (\d+)h([^M]+)/g)].map(([line, onset, row, duration], index) => ({
      line,
      start: onset * secondsPerUnit,
      end: (Number(onset) + Number(duration)) * secondsPerUnit,
      pitch: TOP - row,
      velocity: velocities[index],
    }));
  }

  function draw(roll, sounding, now) {
    const box = roll.querySelector("svg").viewBox.baseVal;
    roll.querySelector(".sounding").setAttribute("d", sounding.map((note) => note.line).join(""));
    roll.querySelector(".now").setAttribute("d", now === null ? "" : `M${now / secondsPerUnit} ${box.y}v${box.height}`);
  }

  function tick() {
    const { roll, notes, began } = current;
    const now = synth.getAudioContext().currentTime - began;
    while (current.next < notes.length && notes[current.next].start < now + AHEAD) {
      const note = notes[current.next++];
      synth.noteOn(0, note.pitch, note.velocity, began + note.start);
      synth.noteOff(0, note.pitch, began + note.end);
    }
    draw(roll, notes.filter((note) => note.start <= now && now < note.end), Math.max(0, now));
    if (now > Math.max(...notes.map((note) => note.end)) + FADE) stop();
  }

  function play(roll) {
    stop();
    synth ??= new WebAudioTinySynth({ voices: 256 });
    const clock = synth.getAudioContext();
    clock.resume();
    current = { roll, notes: notesOf(roll), next: 0, began: clock.currentTime + 0.1, timer: setInterval(tick, EVERY) };
    roll.setAttribute("aria-pressed", "true");
    status.textContent = roll.getAttribute("aria-label").replace("Play", "Playing");
  }

  function stop() {
    if (!current) return;
    clearInterval(current.timer);
    synth.allSoundOff(0);
    draw(current.roll, [], null);
    current.roll.setAttribute("aria-pressed", "false");
    status.textContent = "";
    current = null;
  }

  document.addEventListener("click", ({ target }) => {
    const roll = target.closest(".roll");
    if (roll && roll !== current?.roll) play(roll);
    else if (roll || target.closest(".stop")) stop();
  });
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") stop();
  });
  return { stop };
})();
