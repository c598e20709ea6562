// The frame of a report: one HTML file that needs nothing else (no scripts, fonts or images), light
// or dark as the reader's system is. Drawings take their colours from its style.
import { escaped } from './chart.js';

export function tile(value: string, name: string): string {
  return `<div class="tile"><dd>${escaped(value)}</dd><dt>${escaped(name)}</dt></div>`;
}

/** A drawing under a heading; a wide one leaves the column of the text. */
export function figure(heading: string, chart: string, caption: string, wide = false): string {
  const style = wide ? ' class="wide"' : '';
  return `<section><h2>${escaped(heading)}</h2><figure${style}>${chart}<figcaption>${escaped(caption)}</figcaption></figure></section>`;
}

/** Names and values. */
export function settingsTable(settings: Readonly<Record<string, string>>): string {
  const rows = Object.entries(settings).map(
    ([name, value]) => `<tr><th scope="row">${escaped(name)}</th><td>${escaped(value)}</td></tr>`,
  );
  return `<table>${rows.join('')}</table>`;
}

export interface Page {
  title: string;
  heading: string;
  lead: string;
  /** HTML. */
  body: readonly string[];
}

export function page({ title, heading, lead, body }: Page): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escaped(title)}</title>
<style>${style}</style>
</head>
<body>
<main>
<header>
<h1>${escaped(heading)}</h1>
<p>${escaped(lead)}</p>
</header>
${body.join('\n')}
</main>
</body>
</html>
`;
}

const style = `
:root { --paper: #fbfbf9; --ink: #1b1f24; --soft: #59636e; --rule: #dfe2e6; --card: #ffffff;
  --ours: #0b6e8f; --theirs: #b9c2cb; --accent: #b4441f;
  --one: #0b6e8f; --two: #c2571a; --three: #7b4fa3; --four: #4d7d1e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12161b; --ink: #e8eaed; --soft: #9aa5b1; --rule: #2b323a; --card: #1a2027;
    --ours: #4fb3d4; --theirs: #47525e; --accent: #f08a5d;
    --one: #4fb3d4; --two: #f0975d; --three: #bd9be6; --four: #97c565; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 800px; margin: 0 auto; padding: 48px 24px 64px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 8px; letter-spacing: -0.01em; }
h2 { font-size: 1.05rem; margin: 0 0 12px; }
header p { margin: 0; color: var(--soft); }
section { margin-top: 40px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px;
  margin: 28px 0 0; }
.tile { display: flex; flex-direction: column; background: var(--card);
  border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px; }
.tile dd { margin: 0; font-size: 1.5rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile:first-child dd { color: var(--ours); }
.tile dt { color: var(--soft); font-size: 0.85rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 18px 20px 14px; }
figcaption { color: var(--soft); font-size: 0.88rem; margin-top: 8px; }
svg { display: block; width: 100%; height: auto; font-size: 12.5px; }
svg text { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .axis { fill: var(--ink); }
svg .value { fill: var(--ink); font-size: 14px; font-weight: 600; }
svg .note { fill: var(--accent); }
svg .grid { stroke: var(--rule); }
svg .level { stroke: var(--accent); stroke-dasharray: 5 4; }
svg polyline { fill: none; stroke-linejoin: round; }
svg .strong { stroke: var(--ours); stroke-width: 2.2; }
svg .faint { stroke: var(--ours); stroke-width: 1; opacity: 0.4; }
svg .dot { fill: var(--ours); }
svg polyline.one { stroke: var(--one); stroke-width: 2; }
svg circle.one { fill: var(--one); }
svg rect.one { fill: var(--one); }
svg polyline.two { stroke: var(--two); stroke-width: 2; }
svg circle.two { fill: var(--two); }
svg rect.two { fill: var(--two); }
svg polyline.three { stroke: var(--three); stroke-width: 2; }
svg circle.three { fill: var(--three); }
svg rect.three { fill: var(--three); }
svg polyline.four { stroke: var(--four); stroke-width: 2; }
svg circle.four { fill: var(--four); }
svg rect.four { fill: var(--four); }
svg .band { fill: var(--soft); opacity: 0.3; }
svg .band.changed { fill: var(--accent); opacity: 0.45; }
svg .letter { fill: var(--ink); font-size: 13px; }
svg .place { fill: var(--ink); font-size: 11px; }
svg .match { stroke: var(--soft); stroke-width: 0.8; opacity: 0.6; }
svg .match.wrong { stroke: var(--accent); opacity: 1; }
.wide { width: min(1180px, calc(100vw - 32px)); margin-left: 50%; transform: translateX(-50%); }
svg .ours { fill: var(--ours); }
svg .theirs { fill: var(--theirs); }
blockquote { margin: 0; padding: 4px 0 4px 18px; border-left: 3px solid var(--ours);
  font: italic 1.1rem/1.6 Georgia, "Times New Roman", serif; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--rule);
  font-size: 0.92rem; }
th { color: var(--soft); font-weight: 500; width: 40%; }
`;
