import { describe, expect, test } from 'vitest';
import { frontOf, frontPicture } from './front.ts';
import { htmlReport } from './html.ts';
import { outlierPicture } from './outliers.ts';
import { logAxis, stacked, standalone } from './svg.ts';
import { tensorErrorPicture } from './tensor-errors.ts';
import { letterOf, textFront } from './text-chart.ts';

const points = [
  { label: 'a', x: 8.5, y: 1e-4 },
  { label: '<b>&"', x: 4.5, y: 0.01 },
  { label: 'c', x: 4.6, y: 0.02 },
  { label: 'd', x: 3.1, y: 0.3 },
];

/** Tags that are opened and closed in order, none of them from a name. */
function wellFormed(markup: string): void {
  const open: string[] = [];
  for (const [, close, name, self] of markup.matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/g)) {
    if (close) expect(open.pop()).toBe(name);
    else if (!self) open.push(name!);
  }
  expect(open).toEqual([]);
  expect(markup).not.toMatch(/NaN|Infinity|undefined|<b>/);
}

describe('svg', () => {
  test('the front is what nothing beats in both', () => {
    expect(frontOf(points).map(({ label }) => label)).toEqual(['d', '<b>&"', 'a']);
  });

  test('decades hold all values; no values, or one, still make an axis', () => {
    expect(logAxis([0.002, 0.3])).toMatchObject({ from: -3, to: 0 });
    expect(logAxis([0, 1e-3])).toMatchObject({ from: -3, to: -2 });
    expect(logAxis([])).toMatchObject({ from: -1, to: 0 });
    expect(logAxis([0.01, 1]).share(0.1)).toBeCloseTo(0.5, 12);
    expect(logAxis([0.01, 1]).share(0)).toBe(0);
  });

  test('points lie where their values say: a decade is as high everywhere', () => {
    const svg = standalone(frontPicture(points));
    wellFormed(svg);
    const circles = [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)" r="5"/g)].map(([, x, y]) => [Number(x), Number(y)]);
    expect(circles).toHaveLength(4);
    const [a, b] = circles as [number[], number[]];
    expect(b[0]! - a[0]!).toBeCloseTo(((4.5 - 8.5) / (9 - 3)) * 760, 0);
    expect(a[1]! - b[1]!).toBeCloseTo((2 / 4) * 362, 0);
  });

  test('one point, a perfect one, and none in a tensor plot', () => {
    wellFormed(standalone(frontPicture([{ label: 'same', x: 16, y: 0 }], { line: true })));
    wellFormed(standalone(tensorErrorPicture('<b>', [], 0)));
    wellFormed(standalone(outlierPicture([])));
  });

  test('points without a finite value are named, not drawn', () => {
    const broken = [...points, { label: 'broken', x: 2, y: NaN }, { label: 'worse', x: 2, y: Infinity }];
    const svg = standalone(frontPicture(broken, { line: true }));
    wellFormed(svg);
    expect(svg.match(/<circle /g)).toHaveLength(4);
    expect(svg).toContain('>without a finite value, not drawn: broken, worse<');
    const circles = (picture: string) => picture.match(/<circle [^>]*>/g);
    expect(circles(svg)).toEqual(circles(standalone(frontPicture(points))));
    wellFormed(standalone(frontPicture([{ label: 'alone', x: 4, y: NaN }])));
  });

  test('errors by layer and outliers', () => {
    const errors = tensorErrorPicture(
      'm',
      [
        { layer: 1, role: 'q', error: 0.01 },
        { role: 'embedding', error: 1e-4 },
      ],
      4,
    );
    wellFormed(standalone(errors));
    expect(errors.body.match(/r="4"/g)).toHaveLength(2);
    const height = (scale: number[]) =>
      tensorErrorPicture('m', [{ layer: 1, role: 'q', error: 0.01 }], 4, scale).body.match(/cy="([\d.]+)" r="4"/)?.[1];
    // Half way between 1 and 1e-4; at the foot of an axis of its own from 0.01.
    expect(Number(height([1, 1e-4]))).toBeCloseTo(46 + (260 - 46 - 40) / 2, 6);
    expect(Number(height([0.01, 1]))).toBeCloseTo(260 - 40, 6);
    const map = outlierPicture([{ name: 'model.layers.0.mlp.up_proj.weight', ratios: [1, 1.3, 25] }]);
    wellFormed(standalone(map));
    expect(map.body).toContain('>0.mlp.up_proj<');
    expect(map.body.match(/<path /g)).toHaveLength(2);
  });

  test('pictures below each other, and in a page', () => {
    const picture = frontPicture(points);
    expect(stacked('both', [picture, picture])).toMatchObject({ width: 860, height: 920 });
    wellFormed(standalone(stacked('both', [picture, picture])));
    const page = htmlReport('t<b>', ['n<b>'], [{ title: 'f', head: ['a'], rows: [['<b>', 1]] }], [picture]);
    expect(page).not.toContain('<b>');
    expect(page).toContain("default-src 'none'");
  });
});

test('the front in letters: left is small, up is bad', () => {
  const lines = textFront(points, { width: 40, height: 9 }).split('\n');
  const find = (letter: string) => {
    const row = lines.findIndex((line, i) => i > 0 && line.slice(9).includes(letter) && i < 10);
    return [row, lines[row]!.slice(9).indexOf(letter)] as const;
  };
  expect(find('a')).toEqual([9, Math.round((5.5 / 6) * 39)]);
  expect(find('b')).toEqual([5, Math.round((1.5 / 6) * 39)]);
  expect(find('d')[0]).toBeLessThan(find('b')[0]);
  expect(textFront([])).toBe('');
  expect(letterOf(30)).toBe('+');
});

test('letters stay with their models where one has no finite value', () => {
  const broken = [points[0]!, { x: 4, y: NaN }, points[3]!, { x: Infinity, y: 1 }];
  const drawn = textFront(broken, { width: 40, height: 9 });
  expect(drawn).toBe(
    `${textFront([points[0]!, points[3]!], { width: 40, height: 9 }).replace(/b/, 'c')}\nwithout a finite value, not drawn: b, d`,
  );
  expect(textFront([{ x: 4, y: Infinity }])).toBe('without a finite value, not drawn: a');
});
