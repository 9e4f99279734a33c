// Formulas: what is copied is their TeX, the keys reach those that are wider than the column, and
// what the search quotes is readable.
{
  // A formula is on the page twice, as MathML for screen readers and as HTML for the eye.
  function asTex(content) {
    for (const formula of content.querySelectorAll(".katex")) {
      const tex = formula.querySelector("annotation").textContent;
      const mark = formula.querySelector("math[display=block]") ? "$$" : "$";
      formula.replaceWith(mark + tex + mark);
    }
    return content;
  }

  addEventListener("copy", (event) => {
    const selection = getSelection();
    if (selection.isCollapsed) return;
    const range = selection.getRangeAt(0).cloneRange();
    const formulaAt = (node) => (node.closest ? node : node.parentElement).closest(".katex");
    const [first, last] = [range.startContainer, range.endContainer].map(formulaAt);
    if (first) range.setStartBefore(first); // half a formula has no TeX
    if (last) range.setEndAfter(last);
    const copied = range.cloneContents();
    if (!copied.querySelector(".katex")) return;
    for (const block of asTex(copied).querySelectorAll("p, li, dt, dd, tr, pre, h1, h2, h3, h4, .math")) {
      if (block.tagName !== "SPAN") block.after("\n");
    }
    event.clipboardData.setData("text/plain", copied.textContent.trim());
    event.preventDefault();
  });

  const displays = [...document.querySelectorAll(".katex-display")];
  function reachWide() {
    const wide = displays.map((display) => display.scrollWidth > display.clientWidth);
    displays.forEach((display, index) => {
      if (wide[index]) display.tabIndex = 0;
      else display.removeAttribute("tabindex");
    });
  }
  if (displays.length) {
    document.fonts.ready.then(() => new ResizeObserver(reachWide).observe(document.body));
    addEventListener("toggle", reachWide, true); // of what was folded
  }

  addEventListener("DOMContentLoaded", () => {
    if (typeof Search === "undefined") return;
    const textOf = Search.htmlToText;
    Search.htmlToText = (html, anchor) => {
      const page = asTex(new DOMParser().parseFromString(html, "text/html"));
      return textOf(page.documentElement.outerHTML, anchor);
    };
  });
}
