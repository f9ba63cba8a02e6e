/** The default model and its texts travel with the package and are served beside it. */
const models = new URL('../../models/', import.meta.url);

export const defaultModel: string = new URL('tinystories-3.7m', models).href;
export const defaultText: string = new URL('text/tinystories.valid.txt', models).href;
export const calibrationText: string = new URL('text/tinystories.train.txt', models).href;
