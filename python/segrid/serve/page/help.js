/** The tables of the help: what the mouse does, and what each key does. */

export const MOUSE = [
  { shown: "Click|tap", does: "adds the thing under it to the object" },
  { shown: "Right click", does: "takes away; on a touch screen, choose Take away first" },
  { shown: "Shift+click", does: "selects the object that is there" },
  { shown: "Drag", does: "a box around the thing; earlier clicks of the frame go" },
  { shown: "Wheel|pinch", does: "zooms; the middle button or two fingers move the picture" },
];

export const PICTURE_KEYS = [
  { shown: "← → ↑ ↓", does: "move the crosshair by 1 %; with Shift by one pixel" },
  { shown: "Enter", does: "a point that adds (or what the tool says)" },
  { shown: "Shift+Enter", does: "a point that takes away" },
  { shown: "B", does: "one corner of a box, then the other; Escape drops it" },
];

/** The keys of the whole page. `act` holds a function for each of the actions below. */
export function keyTable(act) {
  const key = (keys, shown, does, run, withCtrl = false) => ({
    keys, shown, does, act: run, withCtrl,
  });
  return [
    key(["ArrowLeft", ","], "←|,", "previous frame; with Shift 10 frames", (event) =>
      act.step(event.shiftKey ? -10 : -1)),
    key(["ArrowRight", "."], "→|.", "next frame; with Shift 10 frames", (event) =>
      act.step(event.shiftKey ? 10 : 1)),
    key(["Home"], "Home", "first frame", act.first),
    key(["End"], "End", "last frame", act.last),
    key(["["], "[", "previous frame with prompts", () => act.mark(-1)),
    key(["]"], "]", "next frame with prompts", () => act.mark(1)),
    key([" "], "Space", "play, pause", act.play),
    key(["p", "P"], "P", "propagate", act.propagate),
    key(["n", "N"], "N", "a new object with the next click", act.newObject),
    key([..."123456789"], "1|…|9", "select an object of the list", (event) =>
      act.select(Number(event.key))),
    key(["x", "X"], "X", "switch between add and take away", act.tool),
    key(["h", "H"], "H", "hide or show the selected object", act.hide),
    key(["Delete", "Backspace"], "Delete", "delete the selected object", act.remove),
    key(["z", "Z"], "Z|Ctrl+Z", "undo", act.undo),
    key(["z"], "", "", act.undo, true),
    key(["/"], "/", "type words to look for", act.words),
    key(["e", "E"], "E", "everything", act.everything),
    key(["+", "="], "+", "zoom in", () => act.zoom(1.5)),
    key(["-"], "−", "zoom out", () => act.zoom(1 / 1.5)),
    key(["0"], "0", "fit the picture", act.fit),
    key(["o", "O"], "O", "open a file", act.open),
    key(["?"], "?", "this help", act.help),
  ];
}

/** @param {{shown: string, does: string}[]} table keys that are alternatives have | between them */
export function fillTable(body, table) {
  for (const { shown, does } of table) {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    for (const text of shown.split("|")) {
      const cap = document.createElement("kbd");
      cap.textContent = text;
      head.append(cap, " ");
    }
    const cell = document.createElement("td");
    cell.textContent = does;
    line.append(head, cell);
    body.append(line);
  }
}
