// Before anything is painted: the theme that was chosen. Without one the system's counts.
(() => {
  let theme = null;
  try { theme = localStorage.getItem("kgs-theme"); } catch { /* storage is switched off */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
