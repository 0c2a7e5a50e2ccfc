// The camera's files of a day, to download.

import { $, api, bytes, clock, make, set } from "./util.js";

export class Files {
  constructor(channel) {
    this.channel = channel;
    this.day = null;
    $("files-type").addEventListener("change", () => this.load());
  }

  show(day) {
    this.day = day;
    this.load();
  }

  async load() {
    const { day } = this;
    if (!day) return;
    set("files-status", "asking the camera");
    let files = [];
    try {
      const type = $("files-type").value;
      ({ files } = await api(`files?channel=${this.channel()}&start=${day.start}&end=${day.end}&type=${type}`));
      set("files-status", files.length ? `${files.length} files` : "There are no files of this day.");
    } catch (error) {
      set("files-status", error.message);
    }
    if (day !== this.day) return;
    const channel = this.channel();
    $("file-list").replaceChildren(...files.map((file) => {
      const item = make("li", null);
      const link = make("a", "Download", {
        href: `api/file?channel=${channel}&name=${encodeURIComponent(file.name)}`, download: "", "data-name": file.name,
        "aria-label": `Download ${file.name}`,
      });
      item.append(make("span", `${clock(file.start)} ${file.name} (${bytes(file.size)})`), link);
      return item;
    }));
  }
}
