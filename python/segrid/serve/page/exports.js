/** Files of the results: the server makes those of a video, the page those of an image. */

import { grayPng } from "./png.js";

export const FORMATS = {
  image: [
    { format: "coco", label: "COCO JSON", text: "run lengths, boxes, names", ending: "json" },
    { format: "png", label: "Label PNG", text: "pixel value = object number", ending: "png" },
    { format: "csv", label: "CSV table", text: "area, box, score", ending: "csv" },
    { format: "overlay", label: "Overlay picture", text: "masks over the image", ending: "png" },
  ],
  video: [
    { format: "coco", label: "COCO JSON", text: "run lengths of every frame", ending: "json" },
    { format: "png", label: "Label PNGs", text: "a zip, one picture a frame", ending: "zip" },
    { format: "csv", label: "CSV table", text: "one row a frame and object", ending: "csv" },
    { format: "overlay", label: "Overlay video", text: "masks over the video", ending: "mp4" },
  ],
};

export async function save(work, { format, ending }) {
  const blob = work.isVideo
    ? await work.api.blob(`${work.path}/export?format=${format}`)
    : await MAKE[format](work);
  const link = document.createElement("a");
  const stem = work.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}_-]+/gu, "_") || "segrid";
  link.download = `${stem}_${format}.${ending}`;
  link.href = URL.createObjectURL(blob);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return link.download;
}

const MAKE = { coco, csv, png: labels, overlay };

/** The objects that have a mask, largest first, so that smaller ones lie on top. */
function masked(work) {
  const masks = work.masksOf(0);
  return [...work.objects.values()]
    .filter(({ id }) => masks.has(id) && !masks.get(id).empty)
    .map((object) => ({ ...object, mask: masks.get(object.id) }))
    .sort((a, b) => b.mask.area - a.mask.area);
}

function byId(objects) {
  return objects.sort((a, b) => a.id - b.id);
}

function coco(work) {
  const objects = byId(masked(work));
  const names = [...new Set(objects.map(({ name }) => name))];
  const { width, height, name } = work;
  const content = {
    images: [{ id: 1, file_name: name, width, height }],
    categories: names.map((category, i) => ({ id: i + 1, name: category })),
    annotations: objects.map(({ id, name: category, mask }) => {
      const [left, top, right, bottom] = mask.box;
      return {
        id,
        image_id: 1,
        category_id: names.indexOf(category) + 1,
        segmentation: mask.rle,
        bbox: [left, top, right - left, bottom - top],
        area: mask.area,
        iscrowd: 0,
        score: mask.score,
      };
    }),
  };
  return new Blob([JSON.stringify(content)], { type: "application/json" });
}

function csv(work) {
  const rows = [["object_id", "name", "score", "area", "x1", "y1", "x2", "y2"]];
  for (const { id, name, mask } of byId(masked(work))) {
    rows.push([id, quoted(name), mask.score, mask.area, ...mask.box]);
  }
  return new Blob([rows.map((row) => `${row.join(",")}\r\n`).join("")], { type: "text/csv" });
}

/** A cell of a name. A spreadsheet must not take it for a formula. */
function quoted(name) {
  const harmless = /^[=+\-@\t\r]/.test(name) ? `'${name}` : name;
  return `"${harmless.replaceAll('"', '""')}"`;
}

function labels(work) {
  const objects = masked(work);
  const wide = objects.some(({ id }) => id > 255);
  const pixels = new (wide ? Uint16Array : Uint8Array)(work.width * work.height);
  for (const { id, mask } of objects) {
    mask.forEachRun((x, top, bottom) => {
      for (let y = top; y < bottom; y += 1) pixels[y * work.width + x] = id;
    });
  }
  return grayPng(pixels, work.width, work.height);
}

async function overlay(work) {
  const longSide = Math.max(work.width, work.height);
  const picture = await createImageBitmap(await work.picture(0, longSide));
  const canvas = new OffscreenCanvas(work.width, work.height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, work.width, work.height);
  context.lineWidth = Math.max(1, longSide / 500);
  for (const { color, mask } of masked(work)) {
    context.fillStyle = `rgb(${color.join(" ")} / 0.45)`;
    context.fill(mask.path, "evenodd");
    context.strokeStyle = `rgb(${color.join(" ")})`;
    context.stroke(mask.path);
  }
  return canvas.convertToBlob({ type: "image/png" });
}
