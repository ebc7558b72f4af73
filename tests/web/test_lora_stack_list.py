"""The list in LoRA Stack in a real front end, in both of its renderers: by keyboard, by pointer, beside its text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ..helpers.browser import DRAWN, UNREADABLE, Tab

UP, MIDDLE = "lora_unet_up_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q", "lora_unet_mid_block_resnets_0_conv1"
FILES = {
    "chars/girl": {"modelspec.trigger_phrase": "akane, fox ears", "ss_base_model_version": "sdxl_base_v1-0",
                   "lora_bootstrap.config": json.dumps({"kind": "character"})},
    "ink": {"lora_bootstrap.config": json.dumps({"kind": "style"})}, "inkwash": {}, "off shoulder": {}, "glow": {},
}
TEXT = "# my girls\n\ngirl : 0.8\n<lora:ink:0.6:0.3>\noff shoulder : 0.2\noff glow : 0.4\n"
STACKS = "app.canvas.graph._nodes.filter((node) => node.comfyClass === 'LoraBootstrap_LoraStack')"
BUILD = """([text, width]) => {
    const nodes = ["LoraStack", "ApplyLoraStack"].map((name) => LiteGraph.createNode(`LoraBootstrap_${name}`));
    nodes.forEach((node, index) => {
        node.pos = [760 * index, 0];
        app.canvas.graph.add(node);
    });
    nodes[0].connect(0, nodes[1], 1);
    nodes[0].widgets.find(({ name }) => name === "entries").value = text;
    if (width) nodes[0].setSize([width, nodes[0].size[1]]);
}"""
LOOK = f"""() => {{
    const [node] = {STACKS};
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [200 - node.pos[0], 160 - node.pos[1]];
    app.canvas.setDirty(true, true);
}}"""
TEXTS = (".lb-stack :is(.lb-ui-status, .lb-ui-button:not(:disabled), .lb-stack-name, .lb-stack-number, "
         ".lb-stack-word, .lb-stack-note span, .lb-stack-raw, .lb-stack-advice li)")
WIDER = """() => [...document.querySelectorAll(".lb-stack, .lb-stack *:not(input)")].filter(
    (one) => one.clientWidth && one.scrollWidth > one.clientWidth + 1 && !one.matches(".lb-ui-unseen")).map(
    (one) => one.className)"""


@dataclass
class Stack:
    """The list in one tab, and what a person does in it."""

    tab: Tab

    def build(self, text: str = TEXT, width: int = 0) -> Stack:
        self.tab.restored()
        self.page.evaluate("() => app.canvas.graph.clear()")
        # older front ends take a new node for the old one of its number, if that was not seen to go
        self.page.locator(".lb-stack").first.wait_for(state="detached", timeout=DRAWN)
        self.page.evaluate(BUILD, [text, width])
        return self.look()

    def look(self) -> Stack:
        """Bring the node into view, and wait for what the server tells of it."""
        self.page.evaluate(LOOK)
        self.page.locator(".lb-stack-note").filter(has_text="akane", visible=True).first.wait_for(timeout=DRAWN)
        return self

    @property
    def page(self) -> Any:
        return self.tab.page

    def type(self, *keys: str) -> Stack:
        """Type text; what is in <> is a key."""
        for key in keys:
            if key.startswith("<"):
                self.page.keyboard.press(key.strip("<>"))
            else:
                self.page.keyboard.type(key)
        self.tab.drawn()
        return self

    def press(self, button: str) -> None:
        self.page.locator(".lb-stack").first.get_by_role("button", name=button, exact=True).click()
        self.tab.drawn()

    def field(self, label: str) -> Any:
        return self.page.get_by_label(label, exact=True).filter(visible=True).first

    def row(self, number: int) -> Any:
        return self.page.locator(".lb-stack-row").nth(number)

    def wait_for(self, text: str) -> None:
        self.page.locator(".lb-stack").filter(has_text=text).first.wait_for(timeout=DRAWN)

    def wait_for_offer(self, text: str) -> None:
        self.page.get_by_role("option", name=text).first.wait_for(timeout=DRAWN)

    @property
    def names(self) -> list[str]:
        return self.page.locator(".lb-stack-name").evaluate_all("(fields) => fields.map(({ value }) => value)")

    @property
    def values(self) -> list[list[Any]]:
        """Of each node, the values of its widgets as saving the graph would write them."""
        return self.page.evaluate(f"() => {STACKS}.map((node) => node.serialize().widgets_values)")

    @property
    def text(self) -> str:
        return self.values[0][0]

    @property
    def queued(self) -> list[dict[str, Any]]:
        """Of each node, its inputs as Run would queue them."""
        prompt = self.page.evaluate("async () => (await app.graphToPrompt()).output")
        return [node["inputs"] for node in prompt.values() if node["class_type"] == "LoraBootstrap_LoraStack"]


@pytest.fixture(scope="module")
def loras(server):
    """LoRA files below the host's output/loras."""
    for name, metadata in FILES.items():
        path = server.base / "output" / "loras" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({f"{module}.{end}": torch.full(shape, 0.5) for module in (UP, MIDDLE)
                   for end, shape in (("lora_up.weight", (4, 2)), ("lora_down.weight", (2, 4)), ("alpha", ()))}, path,
                  metadata)


@pytest.fixture
def stack(open_tab, loras):
    return Stack(open_tab())


def test_rows_are_edited_by_keyboard_and_are_the_text_that_is_saved_and_queued(stack):
    stack.build()
    assert stack.names == ["girl", "ink", "off shoulder", "glow"] and stack.values == [[TEXT, 0.8]]
    stack.tab.picture("list")
    stack.press("Add a LoRA")
    stack.wait_for_offer("inkwash")
    stack.type("nkw", "<Enter>", "<Tab>", "<ArrowDown>", "<Tab>", "<Tab>")
    assert stack.text == TEXT + "inkwash : 0.65\n"
    stack.wait_for("4 on · 1 off · strengths sum to 2.25")
    stack.wait_for("4 LoRAs at once; more than 3 usually cost quality")
    stack.type("<ArrowDown>")
    stack.wait_for_offer("mid_block.resnets.0")
    stack.tab.picture("blocks")
    stack.type("mid", "<Enter>", "<Alt+ArrowUp>", "<Alt+ArrowUp>")
    moved = TEXT.replace("<lora:ink:0.6:0.3>\n",
                         "<lora:ink:0.6:0.3>\ninkwash : 0.65 : : mid_block.resnets.0\n")
    assert stack.text == moved and stack.queued[0]["entries"] == stack.text
    assert stack.page.evaluate("() => document.activeElement.ariaLabel") == "Blocks of inkwash"

    stack.type(*["<Control+z>"] * 9)
    # neither was the graph undone, nor the focus lost
    assert stack.text == TEXT and len(stack.values) == 1
    assert stack.page.evaluate("() => Boolean(document.activeElement.closest('.lb-stack'))")
    stack.type(*["<Control+Shift+z>"] * 9)
    assert stack.text == moved

    stack.field("glow is on").check()
    stack.field("Text encoder strength of ink").fill("")
    stack.type("<Delete>")
    after = moved.replace("off glow", "glow").replace(":0.3>", ">")
    assert stack.text == after and stack.queued == [{"entries": after, "run_strength": 0.8}]
    stack.tab.stored("<lora:ink:0.6>")
    stack.tab.open()
    stack.look()
    assert stack.values == [[after, 0.8]] and stack.names == ["girl", "ink", "inkwash", "off shoulder", "glow"]


def test_what_is_wrong_is_told_at_its_row_and_the_text_is_there_to_edit(stack):
    stack.build("gril : 0.5\nink : 0.9 : 0.9 : style\ngirl : 0.8\ngirl:much")
    stack.wait_for("there is no LoRA 'gril'. Did you mean 'chars/girl'?")
    states = stack.page.locator(".lb-stack-row").evaluate_all("(rows) => rows.map(({ dataset }) => dataset.state)")
    assert states == ["error", "error", "on", "error"]
    stack.wait_for("ink at 0.9 is not below the character girl at 0.8")
    assert "known for SDXL only" in stack.row(1).inner_text() and "'much'" in stack.row(3).inner_text()
    assert stack.field("LoRA").get_attribute("aria-invalid") == "true"
    stack.tab.picture("errors")
    stack.field("A line as text").fill("girl:0.4")
    stack.type("<Enter>", "<Tab>")
    assert stack.names == ["gril", "ink", "girl", "girl"]
    stack.wait_for("is listed twice")
    stack.row(0).get_by_role("button", name="chars/girl").click()
    assert stack.text.startswith("chars/girl : 0.5\n")

    area = stack.page.locator("textarea").filter(visible=True)
    assert area.count() == 0
    stack.press("As text")
    area.first.wait_for(timeout=DRAWN)
    stack.tab.picture("text")
    assert stack.page.locator(".lb-stack-row").filter(visible=True).count() == 0
    area.first.fill("girl : 0.7\nglow : <img src=x onerror=alert(1)>")
    stack.wait_for("strength '<img src=x onerror=alert(1)>'")
    assert stack.page.locator(".lb-stack img").count() == 0
    stack.press("As text")
    area.first.wait_for(state="hidden", timeout=DRAWN)
    assert stack.names == ["girl"] and stack.queued[0]["entries"].startswith("girl : 0.7\nglow : <img")
    stack.page.evaluate(f"""() => {{
        const [source, [node]] = [LiteGraph.createNode("PrimitiveStringMultiline"), {STACKS}];
        app.canvas.graph.add(source);
        source.connect(0, node, node.inputs.findIndex(({{ name }}) => name === "entries"));
    }}""")
    stack.wait_for("The text comes from the link to entries")
    area.first.wait_for(timeout=DRAWN)


def test_narrow_nodes_large_letters_and_both_themes_can_be_read(stack):
    for theme, width in (("dark", 0), ("light", 250)):
        with stack.tab.theme(theme):
            stack.build("gril : 0.9\ngirl : 0.9\n# only words\noff ink : 0.8 : 0.5", width)
            stack.wait_for("there is no LoRA 'gril'")
            stack.field("LoRA").focus()
            stack.tab.picture(theme)
            assert stack.page.evaluate(UNREADABLE, TEXTS) == [] and stack.page.evaluate(WIDER) == []
            outline = stack.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid"
            stack.page.evaluate("() => { document.querySelector('.lb-stack').style.fontSize = '24px'; }")
            stack.tab.still(".lb-stack, .lb-stack *")
            stack.tab.picture(f"{theme} large")
            assert stack.page.evaluate(WIDER) == []


def test_rows_are_dragged_and_copies_and_subgraphs_keep_lists_of_their_own(stack):
    stack.build()
    grips = stack.page.locator(".lb-stack-grip")
    (start, end), mouse = [grips.nth(number).bounding_box() for number in (1, 3)], stack.page.mouse
    place = stack.page.evaluate(f"() => [...{STACKS}[0].pos]")
    mouse.move(start["x"] + 3, start["y"] + 6)
    mouse.down()
    mouse.move(end["x"] + 3, end["y"] + 30, steps=6)
    stack.tab.picture("drag")
    mouse.up()
    stack.tab.drawn()
    moved = "# my girls\n\n<lora:ink:0.6:0.3>\noff shoulder : 0.2\ngirl : 0.8\noff glow : 0.4\n"
    assert stack.text == moved
    assert stack.page.evaluate(f"() => [...{STACKS}[0].pos]") == pytest.approx(place, abs=0.1)  # nor was the node moved

    stack.page.evaluate(f"""() => {{
        app.canvas.copyToClipboard({STACKS});
        app.canvas.pasteFromClipboard({{ position: [0, 700] }});
    }}""")
    stack.page.locator(".lb-stack").nth(1).wait_for(state="attached", timeout=DRAWN)
    stack.field("Model strength of girl").fill("0.3")
    stack.tab.drawn()
    texts = sorted(text for text, _ in stack.values)
    assert texts == [moved.replace("0.8", "0.3"), moved]
    assert sorted(inputs["entries"] for inputs in stack.queued) == texts

    stack.page.evaluate(f"""() => {{
        const [node] = {STACKS};
        const made = app.canvas.graph.convertToSubgraph(new Set([node]));
        app.canvas.openSubgraph(made.subgraph, made.node);
    }}""")
    stack.page.wait_for_function(f"() => {STACKS}.length === 1", timeout=DRAWN)
    stack.look()
    inside = stack.text
    stack.field("girl is on").uncheck()
    stack.tab.picture("subgraph")
    assert stack.text == inside.replace("girl : ", "off girl : ")
    assert stack.text in [inputs["entries"] for inputs in stack.queued] and len(stack.queued) == 2
