/** The page of a model on the Hugging Face hub, of one of its revisions, or of one of its files. */
const page = /^(https:\/\/huggingface\.co\/[^/?#]+\/[^/?#]+)(?:\/(tree|blob)\/([^/?#]+)(?:\/([^?#]+))?)?\/?$/;

/**
 * Turns the address of a page on the hub, which is what people copy, into the address of the files behind it; other addresses stay
 * as they are.
 */
export function filesOfHubPage(address: string): string {
  const match = page.exec(address);
  if (!match) return address;
  const [, model, , revision = 'main', file = ''] = match;
  return `${model}/resolve/${revision}/${file}`;
}
