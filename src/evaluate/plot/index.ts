export { type FrontOptions, type FrontPoint, frontOf, frontPicture } from './front.ts';
export { htmlReport, type ReportTable } from './html.ts';
export { type OutlierRow, outlierPicture } from './outliers.ts';
export { type Picture, stacked, standalone } from './svg.ts';
export { type TensorErrorPoint, tensorErrorPicture } from './tensor-errors.ts';
export { letterOf, textFront } from './text-chart.ts';
