// A click on a figure shows its record; printing opens what is folded, except long configurations.
(() => {
  const records = JSON.parse(document.getElementById("records").textContent);
  const dialog = document.getElementById("record");
  const plain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const inline = (value) =>
    plain(value) ? Object.entries(value).map(([key, part]) => `${key} ${inline(part)}`).join(", ") : Array.isArray(value) ? value.join(", ") : String(value);
  const flat = (value) =>
    plain(value) ? Object.entries(value).map(([key, part]) => `${key}: ${inline(part)}`).join("\n") : inline(value);

  function show(id) {
    const record = records[id];
    document.getElementById("record-title").textContent = record.metric.replaceAll("_", " ");
    const list = document.getElementById("record-text");
    list.replaceChildren();
    for (const [key, value] of Object.entries(record)) {
      if (key === "metric" || value === null || (typeof value === "object" && !Object.keys(value).length)) continue;
      const name = document.createElement("dt");
      const text = document.createElement("dd");
      name.textContent = key.replace("_", "-");
      text.textContent = flat(value);
      list.append(name, text);
    }
    dialog.showModal();
  }

  for (const element of document.querySelectorAll("[data-record]")) {
    element.setAttribute("tabindex", "0");
    element.setAttribute("aria-haspopup", "dialog");
    element.addEventListener("click", () => show(element.dataset.record));
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter") show(element.dataset.record);
    });
  }
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });

  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("section:not(#provenance) details:not([open])")];
    for (const part of folded) part.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const part of folded) part.open = false;
  });
})();
