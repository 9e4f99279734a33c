// Formulas: MathJax is fetched when the text is on the screen, and works in short pieces, so that
// a phone can scroll meanwhile.

{
  const PIECE = 8; // ms
  const { mathjax } = document.currentScript.dataset;
  const pause = () => new Promise((resume) => setTimeout(resume));

  async function inPieces(formulas, action) {
    const { handleRetriesFor } = MathJax._.mathjax.mathjax; // some macros are fetched when met
    let until = performance.now() + PIECE;
    for (const formula of formulas) {
      await handleRetriesFor(() => action(formula));
      if (performance.now() < until) continue;
      await pause();
      until = performance.now() + PIECE;
    }
  }

  MathJax.chtml = { adaptiveCSS: false }; // one style sheet, at once: each new one is a new layout
  MathJax.startup = {
    typeset: false,
    async pageReady() {
      const page = MathJax.startup.document;
      page.findMath();
      await inPieces(page.math, (formula) => formula.compile(page));
      page.getMetrics(); // of all at once: it lays out the page
      page.addStyleSheet();
      await inPieces(page.math, (formula) => formula.render(page));
    },
  };
  addEventListener("load", () => requestAnimationFrame(async () => {
    await pause();
    const script = document.createElement("script");
    script.src = mathjax;
    document.head.append(script);
  }));
}
