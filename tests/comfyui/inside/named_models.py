"""More families of the host, as tiny networks whose layers have their real names: for LoRA files alone."""

from __future__ import annotations

from tiny_models import Tiny

WIDE = {"in_channels": 16, "out_channels": 16}
NAMED = {
    "wan21": Tiny("WAN21_T2V", {
        "image_model": "wan2.1", "model_type": "t2v", "in_dim": 16, "out_dim": 16, "dim": 128, "ffn_dim": 256,
        "freq_dim": 64, "text_dim": 96, "num_heads": 2, "num_layers": 2}, 96),
    "hunyuan_video": Tiny("HunyuanVideo", {
        "image_model": "hunyuan_video", **WIDE, "vec_in_dim": 64, "context_in_dim": 96, "hidden_size": 128,
        "mlp_ratio": 4.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1, "axes_dim": [8, 28, 28], "theta": 256,
        "patch_size": [1, 2, 2], "qkv_bias": True, "guidance_embed": True, "byt5": False, "meanflow": False,
        "use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False}, 96),
    "hidream": Tiny("HiDream", {
        "image_model": "hidream", "patch_size": 2, **WIDE, "num_layers": 1, "num_single_layers": 1,
        "attention_head_dim": 64, "num_attention_heads": 2, "caption_channels": [96, 96], "text_emb_dim": 64,
        "num_routed_experts": 2, "num_activated_experts": 1, "axes_dims_rope": [32, 16, 16], "llama_layers": [0]}, 96),
    "pixart": Tiny("PixArtAlpha", {
        "image_model": "pixart_alpha", "input_size": 8, "hidden_size": 128, "depth": 2, "num_heads": 2,
        "caption_channels": 96, "model_max_length": 16}, 96),
    "auraflow": Tiny("AuraFlow", {
        "cond_seq_dim": 96, "dim": 128, "n_heads": 2, "n_layers": 2, "n_double_layers": 1, "global_conddim": 128,
        "max_seq": 64}, 96),
    "hunyuan_dit": Tiny("HunyuanDiT", {
        "image_model": "hydit", "depth": 2, "hidden_size": 128, "num_heads": 2, "text_states_dim": 64,
        "text_states_dim_t5": 96}, 96),
    "ltxv": Tiny("LTXV", {
        "image_model": "ltxv", "in_channels": 16, "cross_attention_dim": 128, "attention_head_dim": 64,
        "num_attention_heads": 2, "caption_channels": 96, "num_layers": 2}, 96),
    "kandinsky5": Tiny("Kandinsky5", {
        "image_model": "kandinsky5", "in_text_dim": 96, "in_text_dim2": 64, "time_dim": 64, "model_dim": 128,
        "ff_dim": 256, "visual_embed_dim": 33, "num_text_blocks": 1, "num_visual_blocks": 1}, 96),
    "omnigen2": Tiny("Omnigen2", {
        "image_model": "omnigen2", "hidden_size": 96, "num_layers": 1, "num_refiner_layers": 1,
        "num_attention_heads": 1, "num_kv_heads": 1, "axes_dim_rope": (32, 32, 32), "text_feat_dim": 96,
        "multiple_of": 32}, 96),
    "ernie_image": Tiny("ErnieImage", {
        "image_model": "ernie", "hidden_size": 128, "num_attention_heads": 1, "num_layers": 1, "ffn_hidden_size": 256,
        "text_in_dim": 96}, 96),
    "stable_cascade": Tiny("Stable_Cascade_C", {
        "stable_cascade_stage": "c", "c_cond": 64, "c_hidden": [64, 64], "nhead": [1, 1], "blocks": [[1, 1], [1, 1]],
        "c_clip_text": 64, "c_clip_text_pooled": 64, "c_clip_img": 64}, 64),
}
