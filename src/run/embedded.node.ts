import { fileURLToPath } from 'node:url';

/** The default model and its texts travel with the package. */
const models = new URL('../../models/', import.meta.url);

export const defaultModel: string = fileURLToPath(new URL('tinystories-3.7m', models));
export const defaultText: string = fileURLToPath(new URL('text/tinystories.valid.txt', models));
export const calibrationText: string = fileURLToPath(new URL('text/tinystories.train.txt', models));
