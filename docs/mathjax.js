// Formulas between dollars in notebooks, and in the brackets that Markdown pages get from arithmatex.
window.MathJax = {
  tex: { inlineMath: [["$", "$"], ["\\(", "\\)"]], displayMath: [["$$", "$$"], ["\\[", "\\]"]], processEscapes: true },
};
