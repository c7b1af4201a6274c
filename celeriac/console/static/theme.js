// Before the page is drawn: light or dark as it was chosen here. Without a choice, as the system says.
try {
  const theme = localStorage.getItem("celeriac-theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* no storage: the system's choice */ }
