/** The keys of the page: what they do, and the table in the help that lists them. */

import { keepSingleKeys, keptSingleKeys } from "./stored.js";

const TEXT = 'input:not([type="range"]):not([type="radio"]):not([type="checkbox"]), textarea, select';

export class Keyboard {
  on = keptSingleKeys();

  /**
   * @param {{keys: string[], shown: string, does: string, act: Function, withCtrl?: boolean}[]}
   *   table `keys` as event.key gives them; without `shown` it is not in the help
   */
  constructor(table) {
    this.table = table;
    document.addEventListener("keydown", (event) => this.#pressed(event));
  }

  setOn(on) {
    this.on = on;
    keepSingleKeys(on);
  }

  #pressed(event) {
    if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches(TEXT)) return;
    const onButton = event.target.matches("button, summary, a, input");
    if (onButton && (event.key === " " || event.key === "Enter")) return;
    const slides = event.target.matches('input[type="range"], input[type="radio"]');
    if (slides && /^(Arrow|Home|End|Page)/.test(event.key)) return;
    const held = event.ctrlKey || event.metaKey;
    const entry = this.table.find(
      ({ keys, withCtrl = false }) => withCtrl === held && keys.includes(event.key),
    );
    if (!entry || !(this.on || held)) return;
    event.preventDefault();
    entry.act(event);
  }
}
