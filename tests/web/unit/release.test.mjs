import assert from "node:assert/strict";
import test from "node:test";

import "./host_stub.mjs";

const { listsOf, previewPath } = await import("../../../web/release/card.js");
const { useWords } = await import("../../../web/common/words.js");

test("a preview is asked for where the release lies, and anew once it is another image", () => {
  const path = (hash) => previewPath("loras/releases/a b&c", { place: "previews/1.png", hash });
  assert.equal(path("12"), "/view?filename=1.png&subfolder=loras%2Freleases%2Fa+b%26c%2Fpreviews&type=output&hash=12");
  assert.notEqual(path("12"), path("34"));
});

test("a card has a heading for each list that says something", () => {
  assert.deepEqual(listsOf({ limits: ["It was not tested."], notes: [], lines: ["Zip: a.zip"] }),
    [["Limits", ["It was not tested."]], ["Where it is", ["Zip: a.zip"]]]);
});

test("the headings of a card are in the user's language, which is known after the page is loaded", () => {
  useWords({ Limits: "限制" });
  assert.deepEqual(listsOf({ limits: ["It was not tested."] }), [["限制", ["It was not tested."]]]);
  useWords({});
});
