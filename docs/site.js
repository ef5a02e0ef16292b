// What is wider than the screen can be scrolled with the keyboard.
document$.subscribe(() => document.querySelectorAll(".md-typeset__scrollwrap, pre > code").forEach((wide) => { wide.tabIndex = 0; }));
