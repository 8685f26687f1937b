/** The list of objects: swatch (selects), name, eye, bin. */

export class ObjectList {
  #rows = new Map(); // id -> row

  constructor(list, template, editor) {
    Object.assign(this, { list, template, editor });
    editor.addEventListener("change", () => this.#show());
    editor.addEventListener("work", () => this.#clear());
  }

  #clear() {
    for (const [, row] of this.#rows) row.remove();
    this.#rows.clear();
  }

  /** Rows stay the same elements, so that the focus and a name being typed stay, too. */
  #show() {
    const { work, selected } = this.editor;
    if (!work) return;
    for (const [id, row] of this.#rows) {
      if (!work.objects.has(id)) this.#take(id, row);
    }
    for (const object of work.objects.values()) {
      const row = this.#rows.get(object.id) ?? this.#insert(object.id);
      this.#fill(row, object, object.id === selected);
    }
  }

  #insert(id) {
    const row = this.template.content.firstElementChild.cloneNode(true);
    const { editor } = this;
    row.querySelector(".select").addEventListener("click", () => editor.select(id));
    row.querySelector(".eye").addEventListener("click", () => editor.toggleVisible(id));
    row.querySelector(".bin").addEventListener("click", () => editor.remove(id));
    const name = row.querySelector("input");
    name.addEventListener("focus", () => editor.selected !== id && editor.select(id));
    name.addEventListener("change", () => editor.rename(id, name.value.trim()));
    name.addEventListener("keydown", (event) => {
      if (event.key === "Escape") name.value = editor.work.objects.get(id).name;
      if (event.key === "Enter" || event.key === "Escape") name.blur();
    });
    const next = [...this.#rows].filter(([other]) => other > id).sort(([a], [b]) => a - b)[0];
    this.list.insertBefore(row, next?.[1] ?? null);
    this.#rows.set(id, row);
    return row;
  }

  #fill(row, object, selected) {
    const { id, name, color, visible } = object;
    const mask = this.editor.work.masksOf(this.editor.frame).get(id);
    const [red, green, blue] = color;
    const newly = selected && !row.classList.contains("selected");
    row.classList.toggle("selected", selected);
    if (newly) this.#scrollTo(row);
    row.classList.toggle("hidden", !visible);
    const swatch = row.querySelector(".select");
    swatch.style.setProperty("--color", `rgb(${red} ${green} ${blue})`);
    swatch.style.setProperty("--on-color", readableOn(color));
    swatch.textContent = id;
    swatch.setAttribute("aria-label", `Select ${id}, ${name}`);
    swatch.setAttribute("aria-pressed", selected);
    const input = row.querySelector("input");
    if (document.activeElement !== input) input.value = name;
    input.setAttribute("aria-label", `Name of object ${id}`);
    row.querySelector(".score").textContent = mask?.empty ? "lost" : (mask?.score.toFixed(2) ?? "");
    const eye = row.querySelector(".eye");
    eye.setAttribute("aria-pressed", visible);
    eye.setAttribute("aria-label", `Show ${name}`);
    row.querySelector(".bin").setAttribute("aria-label", `Delete ${name}`);
  }

  /** Scrolls the list alone: on a narrow screen the picture must stay where it is. */
  #scrollTo(row) {
    const top = row.offsetTop - this.list.offsetTop;
    const { scrollTop, clientHeight } = this.list;
    if (top < scrollTop) this.list.scrollTop = top;
    const bottom = top + row.offsetHeight;
    if (bottom > scrollTop + clientHeight) this.list.scrollTop = bottom - clientHeight;
  }

  /** The focus of a deleted row goes to the next one. */
  #take(id, row) {
    const focused = row.contains(document.activeElement);
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    this.#rows.delete(id);
    if (focused) (next?.querySelector(".select") ?? this.list).focus();
  }
}

/** Black or white, whichever has the larger contrast (WCAG 2, by relative luminances). */
function readableOn(color) {
  const [red, green, blue] = color.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 ? "#fff" : "#000";
}
