/** The page: puts its parts together. */

import { Api } from "./api.js";
import { Editor } from "./editor.js";
import { FORMATS, save } from "./exports.js";
import { JobPanel } from "./jobs.js";
import { Keyboard } from "./keyboard.js";
import { MOUSE, PICTURE_KEYS, fillTable, keyTable } from "./help.js";
import { Messages } from "./messages.js";
import { ObjectList } from "./objects.js";
import { Opening } from "./opening.js";
import { Player } from "./player.js";
import { Pointing } from "./pointing.js";
import { Running } from "./running.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";

const $ = (id) => document.getElementById(id);

const api = new Api();
const messages = new Messages($("messages"), $("status"));
const editor = new Editor(messages);
const stage = new Stage($("picture"), {
  editor,
  messages,
  pointing: () => ({ box: pointing.box, crosshair: pointing.crosshair }),
});
const panel = new JobPanel(
  {
    panel: $("job"), title: $("job-title"), bar: $("job-bar"), figures: $("job-figures"),
    cancel: $("job-cancel"),
  },
  api,
  messages,
);
const running = new Running({ editor, panel, messages, show: (frame) => stage.show(frame) });
const player = new Player({
  frames: () => stage.frames,
  show: (frame) => stage.show(frame),
  changed: showPlaying,
  failed: (error) => messages.report(error),
});
const timeline = new Timeline(
  {
    slider: $("slider"), lanes: $("lanes"), number: $("number"), total: $("total"),
    time: $("clock"),
  },
  editor,
  go,
);
new ObjectList($("objects"), $("object-row"), editor);
const opening = new Opening(
  {
    file: $("file"), loading: $("loading"), loadingText: $("loading-text"),
    loadingBar: $("loading-bar"), tokenDialog: $("token-dialog"), token: $("token"),
  },
  { api, messages, opened: open },
);
const pointing = new Pointing($("picture"), stage.viewport, {
  enabled: () => editor.work !== null,
  size: () => [editor.work.width, editor.work.height],
  point: (x, y, adds) => prompted(() => editor.point(x, y, adds ?? chosenTool() === "add")),
  box: (box) => prompted(() => editor.box(box)),
  pick: (x, y) => {
    const id = editor.work.objectAt(x, y, editor.frame);
    if (id !== null) editor.select(id);
  },
  redraw: () => stage.redraw(),
  say: (text) => messages.say(text),
});

// --------------------------------------------------------------------------- picture and frames

const CORRECTED =
  "This frame is corrected. The other frames keep their masks until you propagate again.";
const UNKEPT =
  "The browser has no room to keep these objects: export them, because a reload would lose them.";

function open(work) {
  player.stop();
  document.body.classList.remove("nothing-open");
  document.title = `${work.name} – segrid`;
  $("source").textContent = `${work.name} · ${work.width} × ${work.height}`;
  $("table").style.setProperty("--ratio", work.width / work.height);
  $("time").hidden = !work.isVideo;
  $("export").disabled = false;
  listFormats(work);
  work.addEventListener("unkept", () => messages.show(UNKEPT));
  editor.open(work);
  messages.say(`${work.name} is open.`);
  if (work.isVideo) running.takeUp();
}

/** Goes to a frame that the user chose: the picture no longer follows a run. */
function go(frame) {
  if (!editor.work?.isVideo) return;
  player.stop();
  running.following = false;
  stage.show(Math.min(Math.max(0, Math.round(frame)), editor.work.frames - 1));
}

editor.addEventListener("change", () => {
  $("undo").disabled = !editor.canUndo;
  $("clear").hidden = editor.work.objects.size < 2;
  $("count").textContent = editor.work.objects.size || "";
  $("picture").setAttribute("aria-label", described());
});

function described() {
  const { work, frame, selected } = editor;
  const where = work.isVideo ? `${work.name}, frame ${frame} of ${work.frames - 1}` : work.name;
  const object = work.objects.get(selected);
  const target = object ? `prompts go to ${object.name}` : "the next prompt makes a new object";
  return `Picture ${where}; ${work.masksOf(frame).size} masks; ${target}`;
}

// --------------------------------------------------------------------------- prompts

let waiting = 0; // prompts whose masks have not come

async function prompted(action) {
  if (running.isPropagating(editor.work)) {
    messages.show("Objects can be changed when the propagation is finished.", {
      action: "Cancel it", act: () => $("job-cancel").click(),
    });
    return;
  }
  player.stop();
  await busyWhile(action);
}

async function busyWhile(action) {
  waiting += 1;
  const late = setTimeout(() => {
    $("working").hidden = false;
    messages.say("The model is at work.");
  }, 400);
  try {
    await action();
  } finally {
    clearTimeout(late);
    waiting -= 1;
    if (waiting === 0) $("working").hidden = true;
  }
}

function chosenTool() {
  return document.querySelector('input[name="tool"]:checked').value;
}

function switchTool() {
  const other = chosenTool() === "add" ? "remove" : "add";
  document.querySelector(`input[name="tool"][value="${other}"]`).checked = true;
  messages.say(other === "add" ? "Clicks add." : "Clicks take away.");
}

editor.addEventListener("corrected", ({ detail }) => {
  messages.show(CORRECTED, {
    action: "Propagate from here", act: () => propagate(detail.frame),
  });
});

// --------------------------------------------------------------------------- buttons and forms

const onClick = (id, act) => $(id).addEventListener("click", act);

onClick("open", () => opening.choose());
onClick("choose", () => opening.choose());
onClick("undo", () => editor.undo());
onClick("clear", () => editor.removeAll());
onClick("new", () => editor.work && editor.startNew());
onClick("zoom-in", () => stage.zoom(1.5));
onClick("zoom-out", () => stage.zoom(1 / 1.5));
onClick("fit", () => stage.fit());
onClick("play", () => player.toggle(editor.frame));
onClick("back", () => go(editor.frame - 1));
onClick("forward", () => go(editor.frame + 1));
onClick("mark-back", () => goToMark(-1));
onClick("mark-forward", () => goToMark(1));
onClick("help", () => $("help-dialog").showModal());
onClick("everything", () => editor.work && everything());

$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!editor.work) return;
  prompted(() => running.detect($("words").value, $("threshold").valueAsNumber));
});

$("follow").addEventListener("submit", (event) => {
  event.preventDefault();
  propagate($("from-here").checked ? editor.frame : undefined);
});

/** @param {number | undefined} start undefined: the first frame with prompts */
function propagate(start) {
  player.stop();
  messages.drop(CORRECTED);
  running.propagate({ direction: $("direction").value, start });
}

$("threshold").addEventListener("input", () => {
  $("threshold-value").textContent = $("threshold").valueAsNumber.toFixed(2);
});

function everything() {
  prompted(() =>
    running.everything({
      points_per_side: Number($("side").value),
      max_masks: Math.min(Math.max(1, $("most").valueAsNumber || 60), 500),
    }),
  );
}

function goToMark(direction) {
  const frame = editor.work?.isVideo ? timeline.promptedFrom(direction) : undefined;
  if (frame === undefined) messages.say("There is no frame with prompts in that direction.");
  else go(frame);
}

function showPlaying() {
  $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  $("play").querySelector("use").setAttribute("href", player.playing ? "#i-pause" : "#i-play");
  stage.playing = player.playing;
  stage.canvas.draw();
}

function listFormats(work) {
  const list = $("export-menu").querySelector("ul");
  list.replaceChildren(
    ...FORMATS[work.isVideo ? "video" : "image"].map((format) => {
      const [item, button, note] = ["li", "button", "small"].map((tag) => document.createElement(tag));
      button.type = "button";
      note.textContent = format.text;
      button.append(format.label, note);
      button.addEventListener("click", () => exportAs(work, format));
      item.append(button);
      return item;
    }),
  );
}

async function exportAs(work, format) {
  $("export-menu").hidePopover();
  messages.say(`Making ${format.label}`);
  await busyWhile(async () => {
    try {
      messages.say(`Saved as ${await save(work, format)}.`);
    } catch (error) {
      messages.report(error);
    }
  });
}

// --------------------------------------------------------------------------- keys and help

const keyboard = new Keyboard(
  keyTable({
    step: (by) => go(editor.frame + by),
    first: () => go(0),
    last: () => go(Infinity),
    mark: goToMark,
    play: () => editor.work?.isVideo && player.toggle(editor.frame),
    newObject: () => editor.work && editor.startNew(),
    undo: () => editor.undo(),
    remove: () => editor.selected !== null && editor.remove(editor.selected),
    select: (number) => selectNth(number),
    hide: () => editor.selected !== null && editor.toggleVisible(editor.selected),
    tool: switchTool,
    words: () => $("words").focus(),
    everything: () => editor.work && everything(),
    propagate: () => editor.work?.isVideo && $("follow").requestSubmit(),
    zoom: (factor) => stage.zoom(factor),
    fit: () => stage.fit(),
    open: () => opening.choose(),
    help: () => $("help-dialog").showModal(),
  }),
);

function selectNth(number) {
  const id = [...(editor.work?.objects.keys() ?? [])].sort((a, b) => a - b)[number - 1];
  if (id !== undefined) editor.select(id);
}

fillTable($("help-keys"), keyboard.table.filter(({ shown }) => shown));
fillTable($("help-mouse"), MOUSE);
fillTable($("help-picture"), PICTURE_KEYS);
$("single-keys").checked = keyboard.on;
$("single-keys").addEventListener("change", () => keyboard.setOn($("single-keys").checked));

opening.openAddress();
addEventListener("hashchange", async () => {
  const named = await opening.openAddress();
  if (!named && editor.work) location.reload(); // back to the page as it was at first
});
