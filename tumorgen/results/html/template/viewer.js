// Two panes of NiiVue at the same relative position. The script is unpacked when the viewer comes into sight.
(() => {
  const volumes = JSON.parse(document.getElementById("volumes").textContent);
  const section = document.getElementById("viewer");
  const [plane, slice, where] = ["plane", "slice", "where"].map((id) => document.getElementById(id));
  const AXIS = [2, 1, 0];
  const panes = [];
  let settled = false;

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text.trim()), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  async function viewerClass() {
    const script = document.createElement("script");
    script.type = "module";
    script.textContent = new TextDecoder().decode(await unpacked(document.getElementById("niivue").textContent));
    const loaded = new Promise((resolve, reject) => {
      const started = Date.now();
      const look = () => {
        if (globalThis.Niivue) resolve(globalThis.Niivue);
        else if (Date.now() - started > 30000) reject(new Error("the viewer's script did not start"));
        else setTimeout(look, 20);
      };
      look();
    });
    document.head.append(script);
    return loaded;
  }

  // NiiVue counts along R, A, S; a slice number counts from the right, the front and below.
  const count = () => panes[0].volume.shape[AXIS[+plane.value] ?? 2];
  const axis = () => AXIS[+plane.value] ?? 2;

  function tell() {
    const fraction = panes[0].nv.scene.crosshairPos[axis()];
    const number = Math.min(count() - 1, Math.floor(fraction * count()));
    slice.max = count() - 1;
    slice.value = number;
    where.textContent = `${number + 1} of ${count()}`;
  }

  function move(fraction, along) {
    for (const { nv } of panes) {
      nv.scene.crosshairPos[along] = fraction;
      nv.drawScene();
    }
    tell();
  }

  function follow(source) {
    if (!settled) return;
    for (const { nv } of panes) {
      if (nv === source) continue;
      for (const along of AXIS) nv.scene.crosshairPos[along] = source.scene.crosshairPos[along];
      nv.drawScene();
    }
    tell();
  }

  async function load(pane, index) {
    settled = false;
    pane.volume = volumes[index];
    for (const old of [...pane.nv.volumes]) pane.nv.removeVolume(old);
    await pane.nv.loadFromArrayBuffer(await unpacked(pane.volume.nifti), "volume.nii");
    pane.nv.volumes[0].cal_min = 0;
    pane.nv.volumes[0].cal_max = 255;
    pane.nv.setInterpolation(true);
    pane.nv.updateGLVolume();
    settled = true;
    if (panes.length === 2) follow(panes[1 - panes.indexOf(pane)].nv);
  }

  function options(select) {
    for (const [index, volume] of volumes.entries()) select.append(new Option(`${volume.group}: ${volume.title}`, index));
  }

  async function start() {
    const Niivue = await viewerClass();
    const other = volumes.findIndex((volume) => volume.group !== volumes[0].group);
    const first = [0, other < 0 ? Math.min(1, volumes.length - 1) : other];
    for (const [position, side] of ["left", "right"].entries()) {
      const canvas = document.getElementById(`${side}-canvas`);
      const nv = new Niivue({
        logLevel: "silent", backColor: [0, 0, 0, 1], crosshairWidth: 0, isColorbar: false, loadingText: "",
        dragAndDropEnabled: false, isOrientationTextVisible: true, fontSizeScaling: 0.6, show3Dcrosshair: false,
        isRadiologicalConvention: true,
      });
      await nv.attachToCanvas(canvas, false);
      const pane = { nv, volume: volumes[first[position]] };
      await load(pane, first[position]);
      panes.push(pane);
      const select = document.getElementById(side);
      options(select);
      select.value = first[position];
      select.addEventListener("change", () => load(pane, +select.value));
      nv.onLocationChange = () => follow(nv);
    }
    for (const { nv } of panes) nv.setSliceType(0);
    plane.addEventListener("change", () => {
      for (const { nv } of panes) nv.setSliceType(+plane.value);
      tell();
    });
    slice.addEventListener("input", () => move((+slice.value + 0.5) / count(), axis()));
    move(0.5, 2);
    globalThis.reportViewer = { panes };
    section.dataset.state = "ready";
  }

  function refuse(reason) {
    section.dataset.state = "unavailable";
    document.getElementById("viewer-message").textContent =
      `The viewer cannot start in this browser (${reason}). It needs WebGL 2; the slices above show the same volumes.`;
  }

  const watcher = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watcher.disconnect();
    if (!document.createElement("canvas").getContext("webgl2")) refuse("no WebGL 2");
    else start().catch((error) => refuse(error.message));
  }, { rootMargin: "200px" });
  watcher.observe(section);
})();
