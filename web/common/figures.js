/** The measured figures in words: what each is called, and what it says. Panels take both from here, so that a figure
 * reads the same wherever it stands; trainer/measures/figure_words.py has the same words for the pages that the library
 * writes. Loading this module has no effect. */

import { t } from "./words.js";

/** Figure → its name for people, and a sentence about it. */
export const FIGURES = {
  likeness: ["likeness", "How much the image looks like the original, up to 1. Higher is closer."],
  drift: ["drift",
    "How far the images have moved away from the original. 0 is not at all. A jump between rounds is a warning."],
  diversity: ["diversity",
    "How much the images differ from one another. Below 0.7 of the base model's, they are too uniform."],
  base_diversity: ["diversity of the base",
    "How much the base model's own images differ from one another, for comparison."],
  burn: ["burn",
    "How far contrast, colour and fine detail rise above the base model's own images. Above 3, images look burnt."],
  burn_z: ["burn",
    "How far contrast, colour and fine detail rise above the base model's own images. Above 3, an image looks burnt."],
  sharpness_z: ["sharpness", "How sharp the image is among the others. 0 is usual. Below −4 it is blurred."],
  tag_recall: ["tags seen", "Share of the tags asked for that the image shows, from 0 to 1."],
  mark: ["mark",
    "How fully the image shows what only the original has and no tag names, such as a hair-pin, from 0 to 1."],
  trait_colours: ["own colours", "Share of the character's colours that the image shows, from 0 to 1."],
  same_pose: ["same pose",
    "How alike the pose is to that of the image it was drawn from, up to 1. Above 0.82, she has not turned."],
  colour_shift: ["colour shift",
    "By how much all colours together differ from the crops'. Above 6, the image has a cast."],
  detail_change: ["fine detail",
    "Fine detail beyond that of the crops, in doublings. Below −1 the image is smoothed."],
  face_likeness: ["face", "How much the face looks like the original's, up to 1. Higher is closer."],
  novelty: ["novelty", "How different the scene is from the original. Higher means that it shows something new."],
  real_share: ["share of the original",
    "Share of the original among the images to train on. At least a third keeps the character true."],
};

/** The figures of sweeps, which are compared with the same prompts and seeds without the LoRA. */
export const SWEEP_FIGURES = {
  likeness: ["likeness", "How much the images look like the training images, up to 1. Higher is closer."],
  prompt: ["prompt accuracy", "Share of the prompt's tags that the images show, from 0 to 1."],
  diversity: ["diversity",
    "How much the images differ from one another, as a share of those without the LoRA. Near 1, the LoRA costs no variety."],
  copies: ["copies", "Share of the images that copy a training image. Above 0, the LoRA begins to memorise."],
  burn: ["burn",
    "How far contrast, colour and fine detail rise above the images without the LoRA. Above 3, they look burnt."],
  validation: ["validation",
    "Loss on images that were held back, divided by the base model's. Below 1 is better than the base."],
  backgrounds: ["copied backgrounds",
    "Share of the images that repeat a training image's background, beyond those without the LoRA."],
  artefacts: ["artefacts",
    "Share of the images with noise, stripes, banding or lost sharpness that they lack without the LoRA."],
  by_eye: ["good by eye", "Share of good among what you rated: anatomy, skin and light."],
  score: ["score", "All figures in one, from 0 to 1. Higher is better."],
};

export const figureName = (key, table = FIGURES) => (table[key] ? t(table[key][0]) : key.replaceAll("_", " "));
export const figureWords = (key, table = FIGURES) => (table[key] ? t(table[key][1]) : "");

/** Let an element say what its figure means, to the mouse and to a screen reader. */
export function explain(element, words) {
  if (!words) return element;
  element.title = words;
  element.setAttribute("aria-description", words);
  return element;
}
