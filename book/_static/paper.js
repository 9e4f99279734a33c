// Paper is white: a page that is read in the dark is printed in its light colors. And it has every
// picture: those that nobody has scrolled to come a while after the text.
{
  const AFTER = 1000; // ms
  addEventListener("load", () => setTimeout(() => {
    for (const image of document.querySelectorAll("img[loading=lazy]")) image.loading = "eager";
  }, AFTER));

  const root = document.documentElement;
  let onScreen;
  addEventListener("beforeprint", () => {
    onScreen = root.dataset.theme;
    root.dataset.theme = "light";
  });
  addEventListener("afterprint", () => {
    root.dataset.theme = onScreen;
  });
}
