// The chosen theme, before the first paint. Without a choice the page follows the system.
const chosen = localStorage.getItem("theme");
if (chosen) document.documentElement.dataset.theme = chosen;
