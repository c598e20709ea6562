// What the study found, in lines for the terminal and as a page with pictures.
import { lineChart } from '../chart.js';
import { figure, page, settingsTable, tile } from '../page.js';
import { thousands } from '../progress.js';
import { cloudPicture, type Dots, matchPicture } from './cloud-picture.js';
import type { Pair } from './clouds.js';
import { blur as letterBlur } from './distances.js';
import type { Language } from './languages.js';
import { mapPicture } from './map-picture.js';
import { planPicture } from './plan-picture.js';
import { moved } from './rigid.js';
import type { LanguageMap, RegistrationCase, Results } from './study.js';

const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
export const small = (value: number) => (value < 0.01 ? value.toExponential(1) : value.toFixed(3));

/** Languages whose nearest ones are printed, where they are part of the study. */
const shown = [
  'dan',
  'nob',
  'deu_1996',
  'nld',
  'fra',
  'spa',
  'por_PT',
  'ron_2006',
  'ces',
  'hrv',
  'fin',
  'hun',
  'tur',
  'swh',
  'zul',
  'yor',
  'ind',
  'mri',
  'quz',
  'vie',
];

export function registrationLines({ registrations }: Results): string[] {
  return registrations.map(({ name, found, matches }) => {
    const { degrees, shift } = found.error;
    return `${name}: ${small(degrees)}° and ${small(shift)} radii off, ${percent(matches.correct)} of the points matched`;
  });
}

function neighboursOf({ languages, neighbours }: LanguageMap, i: number): string {
  return neighbours[i]
    .slice(0, 3)
    .map((j) => languages[j].name)
    .join('; ');
}

/** [language, nearest ones] of the list above. */
function shownNeighbours(map: LanguageMap): [string, string][] {
  return shown
    .map((code) => map.languages.findIndex((language) => language.code === code))
    .filter((i) => i >= 0)
    .map((i) => [map.languages[i].name, neighboursOf(map, i)]);
}

export function neighbourLines(map: LanguageMap): string[] {
  const { twins, travel, embedding } = map;
  return [
    `nearest text in the same language: ${twins.found} of the ${twins.texts} that have one (${percent(twins.share)})`,
    `nearest other language is ${thousands(travel.nearest)} km away (median), any other ${thousands(travel.any)} km`,
    `stress of the map ${embedding.stress.at(-1)!.toFixed(3)}`,
    ...shownNeighbours(map).map(([name, nearest]) => `  ${name}: ${nearest}`),
  ];
}

const dots = (points: { dataSync(): ArrayLike<unknown> }, style: string, weights?: Float32Array) =>
  ({ points: points.dataSync() as ArrayLike<number>, style, weights }) satisfies Dots;

function beforeAndAfter({ name, pair, found, matches, damage }: RegistrationCase): string {
  const { source, target } = pair;
  const weights = damage.cropped > 0 ? matches.carried : undefined;
  return cloudPicture(
    `${name}: before and after`,
    `Left the cloud and its moved copy, right the cloud after the motion found, ${small(found.error.degrees)} degrees from the true one.`,
    [
      { title: 'before', dots: [dots(target, 'two'), dots(source, 'one')] },
      {
        title: 'after',
        dots: [dots(target, 'two'), dots(moved(source, found.motion).detach(), 'one', weights)],
      },
    ],
  );
}

const drawnMatches = 90;

function matchLines(pair: Pair, best: Int32Array, carried: Float32Array) {
  const { partner } = pair;
  const step = Math.max(1, Math.floor(partner.length / drawnMatches));
  return [...partner.keys()]
    .filter((i) => i % step === 0 && carried[i] > 0.5)
    .map((i) => ({ from: i, to: best[i], style: best[i] === partner[i] ? 'right' : 'wrong' }));
}

function correspondence({ name, pair, matches }: RegistrationCase): string {
  return matchPicture(
    `${name}: what the plan matches`,
    `Lines from points of the cloud to the points that most of their mass goes to; ${percent(matches.correct)} are right.`,
    dots(pair.source, 'one', matches.carried),
    dots(pair.target, 'two'),
    matchLines(pair, matches.best, matches.carried),
  );
}

const colours = ['one', 'two', 'three', 'four'];

function descentChart(cases: readonly RegistrationCase[]): string {
  return lineChart({
    title: 'Angle that is left',
    description: 'The angle between the rotation found and the true one, by step of the descent.',
    xLabel: 'step',
    yLabel: 'degrees',
    lines: cases.map(({ name, found }, i) => ({
      name,
      style: colours[i],
      points: [...found.degrees, found.error.degrees].map((y, x) => ({ x, y })),
    })),
    logarithmic: true,
    legend: true,
  });
}

function iterationChart({ curves }: Results): string {
  return lineChart({
    title: 'Error of the marginals by iteration',
    description: 'How far the marginals of the plan are from the weights, by iteration and blur.',
    xLabel: 'iterations',
    yLabel: 'error of the marginals, L1',
    lines: curves.map(({ blur, points }, i) => ({
      name: `blur ${blur}`,
      style: colours[i],
      points,
    })),
    levels: [{ name: 'default tolerance', y: 1e-3 }],
    logarithmic: true,
    legend: true,
  });
}

function registrationPart(results: Results): string[] {
  const { registrations } = results;
  const [clean, , reached] = registrations;
  const { cropped, noise } = reached.damage;
  return [
    figure(
      'A cloud and its moved copy',
      beforeAndAfter(clean),
      `${clean.pair.partner.length} vertices of the Stanford bunny and the same ones turned by 50°, shifted and shuffled. Gradient descent of the Sinkhorn divergence on rotation vector and translation, blur falling from ${clean.descent.blur.join(' to ')} (the cloud has radius 1).`,
    ),
    figure(
      'A copy with a part missing',
      beforeAndAfter(reached),
      `The same with ${percent(cropped)} of the copy cut off and noise of ${noise}. Blur to ${reached.descent.blur[1]}; with a reach, which falls from ${reached.descent.reach!.join(' to ')}, mass that finds no partner nearby is given up: such points are pale.`,
    ),
    figure(
      'What belongs to what',
      correspondence(reached),
      `Nobody told which point is which: a line joins a point to where most of its mass goes. ${percent(reached.matches.correct)} of the points whose image is there are matched with it; the others are drawn in red.`,
    ),
    figure(
      'Descent',
      descentChart(registrations),
      'All of the mass must move where no reach is given, so the missing part drags the cloud to a wrong place.',
    ),
    figure(
      'Iterations',
      iterationChart(results),
      'Of one transport problem between the cloud and its copy before it is moved: annealed, then over-relaxed, at several blurs, in float64.',
    ),
  ];
}

/** By where the package says that a language is at home. */
function regionOf({ latitude, longitude }: Language): number {
  if (longitude < -30) return longitude < -130 && latitude < 30 ? 3 : 2;
  if (longitude > 60) return 3;
  return latitude < 35 || (latitude < 37.3 && longitude < 12 && longitude > -3) ? 1 : 0;
}
const regions = ['Europe and the Near East', 'Africa', 'Americas', 'Asia and the Pacific'];

function languageChart(map: LanguageMap): string {
  const { languages, embedding, neighbours, distances } = map;
  const n = languages.length;
  const places = languages.map((language, i) => ({
    // The second name of an entry says which orthography or place.
    name: language.name,
    x: embedding.places[2 * i],
    y: embedding.places[2 * i + 1],
    style: colours[regionOf(language)],
    // Then those that are far from all others.
    rank: shown.includes(language.code) ? 1e3 : distances[i * n + neighbours[i][0]],
  }));
  return mapPicture(
    'Languages by their letters',
    `${n} texts in the plane; near each other where they are made of like letters.`,
    places,
    regions.map((name, i) => ({ name, style: colours[i] })),
  );
}

function languagePart(map: LanguageMap): string[] {
  const { plan, twins, travel, embedding } = map;
  const side = ({ name, letters, weights }: Language) => ({ title: name, names: letters, weights });
  return [
    figure(
      'Languages by their letters',
      languageChart(map),
      `${map.languages.length} translations of the Universal Declaration of Human Rights in Latin letters. Distance: √(2S), S the Sinkhorn divergence of the letter frequencies at blur ${letterBlur}; turning a letter into another costs the more, the more differently they are spoken. Stress-1 of the map ${embedding.stress.at(-1)!.toFixed(2)}.`,
      true,
    ),
    figure(
      `${plan.from.name} becomes ${plan.to.name}`,
      planPicture(
        `From the letters of ${plan.from.name} to those of ${plan.to.name}`,
        'Bands from letters to letters, as thick as the mass that the plan moves between them.',
        side(plan.from),
        side(plan.to),
        plan.plan,
      ),
      `The plan between two letter distributions, divergence ${small(plan.divergence)}. Grey: letters that stay; red: letters that become another.`,
    ),
    `<section><h2>Nearest languages</h2><p>Of ${twins.texts} texts whose language has another text here, ${twins.found} have one of those nearest (${percent(twins.share)}). The nearest text of another language is ${thousands(travel.nearest)} km away in the median, any other ${thousands(travel.any)} km.</p>${settingsTable(Object.fromEntries(shownNeighbours(map)))}</section>`,
  ];
}

export function reportPage(results: Results, seconds: number): string {
  const { registrations, map, settings } = results;
  const [clean, , reached] = registrations;
  const tiles = [
    tile(`${small(clean.found.error.degrees)}°`, 'off, moved copy'),
    tile(`${small(reached.found.error.degrees)}°`, 'off, cropped and noisy copy'),
    tile(thousands(map.problems), 'divergences between languages'),
    tile(thousands(map.problems / map.seconds), 'of them a second'),
    tile(percent(map.twins.share), 'nearest text in the same language'),
  ];
  return page({
    title: 'Optimal transport: a bunny found again, languages by their letters',
    heading: 'Optimal transport of two kinds',
    lead: `Clouds of points are registered and languages mapped, both by Sinkhorn divergences and nothing else. ${seconds.toFixed(0)} s, seed ${settings.seed}${settings.quick ? ', the quick form' : ''}.`,
    body: [
      `<dl class="tiles">${tiles.join('')}</dl>`,
      ...registrationPart(results),
      ...languagePart(map),
    ],
  });
}
