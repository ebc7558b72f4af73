"""Vocabulary of tags by class: whole tags, first words, last words, and what a bracket says.

Booru tags have a noun at their end (`red plaid skirt`) or a verb at their start (`holding a red cup`); `classes` reads
these tables by that grammar. Every word stands in one class only.
"""

from __future__ import annotations

from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(" ".join(part.split()) for part in text.split(",") if part.strip())


WHOLE: Mapping[str, frozenset[str]] = {
    "class": _words("""
        1girl, 1boy, 1other, 1woman, 1man, 1person, girl, boy, woman, man, person, female, male, lady, guy,
        androgynous person, no humans,
        creature, robot, character, mascot, idol, witch, knight, ninja, samurai, maid, nun, miko, bride, waitress,
        waiter, butler, soldier, pirate, police, dancer, office lady, cheerleader, zombie, skeleton, alien, giant,
        giantess, mini person, minigirl, student, teacher, doctor, scientist, mage, wizard, princess, prince,
        queen, king, gyaru, old man, old woman, fat man, bishounen, tomboy, yandere, tsundere, virtual youtuber,
        child, baby, kid, idol singer, gravure idol, nurse, policewoman, policeman, magical girl, magical boy, race
        queen, cowboy, cowgirl, superhero, superheroine, hero, heroine, villain, assassin, archer, warrior,
        paladin, cleric, priest, priestess, monk, thief, rogue, bard, alchemist, necromancer, sorcerer, sorceress,
        mechanic, farmer, fisherman, sailor, pilot, astronaut, athlete, firefighter, chef, baker, barista,
        bartender, secretary, businessman, businesswoman, salaryman, housewife, mother, father, sister, brother,
        daughter, son, grandmother, grandfather, mom, dad, singer, musician, artist, painter, photographer, model,
        actress, actor, ballerina, gymnast, schoolgirl, schoolboy, shrine maiden, maiden, noble, noblewoman,
        nobleman, bandit, viking, gladiator, mercenary, detective, spy, lawyer, judge, clown, jester, stripper,
        prostitute, mummy, werewolf, golem, minotaur, valkyrie, goddess, god, deity, humanoid, mutant, cryptid,
        kaiju"""),
    "count": _words("""
        solo, solo focus, duo, trio, group, 2girls, 3girls, 4girls, 5girls, 6+girls, 2boys, 3boys, 4boys, 5boys,
        6+boys, multiple girls, multiple boys, multiple others, 2others, 3others, crowd, couple, male focus, female
        focus, other focus, everyone, hetero, yuri, yaoi, twins, triplets, siblings, sisters, brothers, brother and
        sister, mother and daughter, mother and son, father and daughter, father and son, husband and wife, family,
        friends, interracial, interspecies, height difference, size difference, age difference, multiple people,
        two people, one person, threesome, gangbang, orgy, futa with female, furry with non-furry, mmf threesome,
        ffm threesome, foursome, harem, third wheel"""),
    "pose": _words("""
        v, w, double v, double w, peace sign, thumbs up, thumbs down, thumb up, middle finger, ok sign, finger gun,
        finger heart, heart hands, heart arms, salute, wariza, seiza, indian style, butterfly sitting, all fours,
        yokozuwari, tiptoes, m legs, v arms, w arms, split, splits, standing split, handstand, spread eagle,
        planking, the pose, top-down bottom-up, back-to-back, face-to-face, cheek-to-cheek, side-by-side,
        forehead-to-forehead, heads together, trigger discipline, dual wielding, reverse grip, midair, afloat,
        asleep, awake, upside-down, contrapposto, arched back, twisted torso, bent over, knees up, knee up, own
        hands together, eye contact, head tilt, head rest, head down, head back, pigeon-toed, hug, kiss, headpat,
        spanking, groping, selfie, fetal position, missionary, doggystyle, girl on top, boy on top, spooning, back
        turned, looking back, smoking, bound, restrained, tied up, planted, drunk, dressing, undressing,
        exhibitionism, wet hair, wet, partially submerged, folded, mouth hold, between fingers, beckoning, t-pose,
        dogeza, gendou pose, stance, action, battle, fight, sex, vaginal, anal, oral, facing another, floating
        hair, wind-blown hair, hair blowing, hair flip, hair lift, hair spread out, \\m/, claws out, toe scrunch,
        wardrobe malfunction, public indecency, invisible chair, m/, object insertion, bukkake, male penetrated,
        bestiality, irrumatio, deepthroat, cum, girl sandwich, boy sandwich"""),
    "view": _words("""
        front view, side view, back view, rear view, profile, side profile, in profile, three-quarter view, 3/4
        view, three quarter, from outside, straight-on, head-on, frontal, front, facing viewer, facing away, facing
        forward, facing left, facing right, facing front, facing camera, facing the camera, facing the viewer,
        facing to the side, facing ahead, facing back, facing backwards, facing up, facing down, back to viewer,
        dutch angle, pov, fisheye, full body, full length, whole body, head to toe, upper body, lower body, cowboy
        shot, american shot, portrait, headshot, bust, close-up, closeup, extreme close-up, macro, half body,
        half-length, waist up, thigh up, thighs up, knee up shot, out of frame, centered, off-center, rule of
        thirds, diagonal, symmetry, foreshortening, perspective, depth of field, shallow depth of field, vanishing
        point, blurry foreground, motion blur, panorama, wide angle, bird's eye view, worm's eye view, high angle,
        low angle, eye level, top-down, overhead, silhouette, stomach, navel, covered navel, collarbone, thighs,
        legs, feet, foot, toes, soles, back, bare back, armpits, armpit, kneepits, knees, hands, fingers, arms,
        shoulders, hips, waist, ass, groin, crotch, pussy, penis, testicles, nipples, areolae, anus, clitoris,
        cleft of venus, butt crack, median furrow, armpit crease, shoulder blades, dimples of venus, linea alba,
        between breasts, ass visible through thighs, thigh gap, no feet, partially visible vulva, uterus, cameltoe,
        tachi-e, pantyshot, upskirt, downblouse, covered eyes, cropped legs, cropped torso, cropped arms, cropped
        shoulders, cropped head, cropped body"""),
    "expression": _words("""
        smile, smiling, grin, grinning, smirk, frown, expressionless, closed mouth, parted lips, closed eyes, one
        eye closed, wink, half-closed eyes, wide-eyed, empty eyes, rolling eyes, blank eyes, crazy eyes, sparkling
        eyes, averting eyes, squinting, blinking, crying, tears, laughing, blush, body blush, ear blush, angry,
        annoyed, sad, happy, surprised, scared, serious, embarrassed, pout, tongue, teeth, upper teeth only, lower
        teeth only, sleepy, tired, bored, confused, shy, nervous, determined, furrowed brow, drooling, ahegao,
        crying with eyes open, smug, turn pale, shaded face, sweat, sweatdrop, flying sweatdrops, nervous sweating,
        saliva, saliva trail, drool, snot, nosebleed, yawning, shouting, screaming, sobbing, sneezing, moaning,
        whispering, singing, licking lips, trembling, shivering, steaming body, heavy breathing, blush stickers,
        spoken blush, anger vein, notice lines, squeans, squiggle, puff of air, neutral, calm, emotionless,
        disgust, disgusted, jealous, lonely, relieved, excited, in love, thinking, worried, pain, panicking,
        frustrated, dizzy, aroused, fucked silly, torogao, evil, doyagao, jitome, sanpaku, ringed eyes, solid
        circle eyes, o o, d:, xd, :d, ;d, :o, ;o, :3, :p, ;p, :q, :t, uwu, owo, 3:, zzz, emotional, melancholy,
        fear, tearing up, v-shaped eyebrows, raised eyebrow, raised eyebrows, half-closed eye, narrowed eyes,
        naughty face, breath, visible breath, constricted pupils, glaring, staring, frowning, crying out, pouting,
        grimacing, scowling, sneering, weeping, wincing, gasping, panting, sighing, blushing, sweating, winking,
        yelling, giggling, smirking, snarling, growling, sulking, cheerful, joyful, gloomy, grumpy, gentle, stern,
        flustered, amused, curious, disappointed, shocked, startled, terrified, anxious, hopeful, proud, playful,
        mischievous, sly, sultry, seductive, pleased, satisfied, unamused, upset, furious, enraged, depressed,
        grieving, exhausted, relaxed, peaceful, solemn, pensive, thoughtful, dreamy, blank stare, deadpan, poker
        face"""),
    "lighting": _words("""
        backlighting, backlight, backlit, sidelighting, underlighting, rim light, high key, highkey, low key,
        lowkey, god rays, chiaroscuro, lens flare, glowing, glow, day, daytime, golden hour, blue hour,
        overexposure, underexposure, bloom, light particles, sparkle, sparkles, drop shadow, bright, dim, well-lit,
        aura"""),
    "background": _words("""
        outdoors, indoors, outside, inside, outdoor, indoor, nature, underwater, space, night, scenery, landscape,
        horizon, mountainous horizon, winter, summer, spring, autumn, fall, rain, raining, snowing, wind, evening,
        morning, sunset, sunrise, dusk, dawn, twilight, midnight, noon, afternoon, train interior, car interior,
        steam, fire, smoke, east asian architecture, no background, letterboxed, pillarboxed, urban, rural,
        gradient, stained glass, cherry blossoms, splashing, ripples, air bubble, soap bubbles, bubble, confetti,
        shooting star, water drop, water drops"""),
    "style": _words("""
        flat color, flat colors, lineart, line art, pastel, pixel art, watercolor, oil painting, sketch,
        monochrome, greyscale, sepia, spot color, spot colors, limited palette, partially colored, chibi, chibi
        only, chibi inset, anime, realistic, photorealistic, semi-realistic, photo, photograph, photography, 3d,
        2d, cgi, render, comic, manga, silent comic, 1koma, 2koma, 3koma, 4koma, 5koma, multiple 4koma, ink, ink
        wash, graphite, charcoal, pencil, marker, crayon, gouache, concept art, illustration, painterly,
        impressionism, art nouveau, art deco, ukiyo-e, retro, vintage, toon, cartoon, vector, minimalism, halftone,
        screentones, film grain, chromatic aberration, high contrast, low contrast, colorful, vaporwave, synthwave,
        cyberpunk, steampunk, dieselpunk, fantasy, dark fantasy, science fiction, sci-fi, horror, surreal, western
        comics, lowpoly, low poly, isometric, storybook, mixed media, traditional media, thick outlines, no
        lineart, outline, white outline, unfinished, border, white border, black border, outside border, multiple
        views, turnaround, expressions, expression chart, cover, cover page, doujin cover, album cover, magazine
        cover, fake screenshot, screencap, zoom layer, afterimage, cropped, motion lines, speed lines, emphasis
        lines, jaggy lines, scan lines, bokeh, vignetting, collage, split screen, polaroid, cel shading, style
        parody, parody, transparent, cross-section, inset, reference inset, oekaki, fanart, fan art, game cg,
        official style, crossover, 1980s style, color guide, variations, card, greyscale with colored background,
        drawing, painting, blending, tegaki, trading card, lo-fi, unmoving pattern, eyes visible through hair,
        viewfinder, dark, still life, x-ray, glitch, unreal engine, octane render, blender, cinematic, cinematic
        still, film still"""),
    "quality": _words("""
        masterpiece, best, highres, absurdres, incredibly absurdres, lowres, hires, very aesthetic, aesthetic,
        displeasing, very displeasing, normal, newest, recent, mid, early, oldest, late, general, sensitive,
        questionable, explicit, safe, nsfw, sfw, rating safe, blurry, censored, uncensored, error, artistic error,
        ai-generated, ai-assisted, official art, scan, signature, dated, logo, text, commentary, translated,
        copyright name, artist name, character name, company name, web address, url, qr code, page number,
        photoshop, extra digits, fewer digits, missing fingers, extra fingers, extra limbs, tagme, duplicate,
        revision, third-party edit, md5 mismatch, wallpaper, hd, ultra-detailed, highly detailed, detailed,
        intricate, sharp focus, award-winning, trending on artstation, speech bubble, thought bubble, sound
        effects, amazing, beautiful, perfect, professional"""),
    "identity": _words("""
        broad shoulders, narrow shoulders, wide shoulders, robot arm, robot arms, redhead, brunette, blonde, asian,
        overweight, clean shaven, gap tooth, long neck, countershading, metal plating,
        muscular, tall, short, petite, slim, slender, skinny, thin, chubby, plump, fat, obese, curvy, toned, tan,
        tanned, pale, albino, old age, young, aged, elderly, loli, shota, toddler, teenager, adult, mature female,
        mature male, milf, elf, dark elf, half-elf, dwarf, vampire, angel, fallen angel, demon, devil, oni,
        succubus, incubus, fairy, mermaid, merman, lamia, centaur, harpy, kitsune, nekomata, tengu, jiangshi,
        android, cyborg, humanoid robot, mecha musume, doll, slime girl, kemonomimi, kemonomimi mode, furry, furry
        female, furry male, anthro, androgynous, otoko no ko, trap, reverse trap, futanari, ambiguous gender,
        flat-chested, faceless, muneate, dark-skinned female, dark-skinned male, eye color, cyclops, amputee,
        disabled, blind, hairy, bald, balding, ponytailed, inkling, octoling, draph, erune, viera, miqo'te, au ra,
        pokemon trainer, ear fluff, animal ear fluff, bags under eyes, skin fang, fangs, fang, whisker markings,
        hair down, hair up, no nose, no mouth, no eyes, no pupils, missing eye, missing limb, tareme, tsurime,
        one-eyed, dot nose, widow's peak, tanlines, one-piece tan, stubble, abs, biceps, ribs, pectorals, material
        growth, prosthesis, robot joints, doll joints, joints, hair rings, blunt ends, hair slicked back, hair
        pulled back, command spell, taur, old, manly, womanly, feminine, masculine, girly, boyish, tomboyish,
        ladylike, handsome, lanky, stocky, chunky, voluptuous, athletic, buff, ripped, freckled, wrinkled, bearded,
        tattooed, pregnant, middle-aged, teen, teenage"""),
    "outfit": _words("""
        barefoot, topless, bottomless, nude, naked, completely nude, convenient censoring, fully clothed,
        undressed, partially undressed, partially unbuttoned, unbuttoned, unzipped, partially unzipped, no bra, no
        panties, midriff, midriff peek, cleavage, sideboob, underboob, backboob, bare shoulders, bare arms, bare
        legs, zettai ryouiki, absolute territory, skindentation, underbust, off shoulder, strapless, sleeveless,
        backless, halterneck, criss-cross halter, highleg, low rise, high waist, see-through, skin tight, formal,
        casual, contemporary, military, sportswear, streetwear, latex, leather, denim, silk, lace, plaid, argyle,
        camouflage, polka dot, plaid pattern, frills, enmaided, playboy bunny, bespectacled, crossdressing, bdsm,
        bondage, side slit, backwards hat, gothic, lolita, punk, goth, cosplay wear, fashion, makeup, facepaint,
        bodypaint, jewelry, shirt tucked in, covered collarbone, open fly, uneven legwear, wrapped, mask on head,
        kote, cable knit, unconventional maid, bikini top only, bikini bottom only, animal costume, idol costume,
        rigging, maebari, nail art, magatama, diamond button, front-tie top, v-neck, u-neck, shibari, wedgie, iron
        cross, cowbell, button gap, strap gap, hood down, hood up, bare pectorals, lowleg, low leg, high leg,
        low-cut, high-cut, open back, open chest, open front, two-piece, well-dressed, overdressed, half-dressed,
        half-naked, dressed up, in uniform, in costume"""),
    "object": _words("""
        holding object, stand, o-ring, planted sword, planted weapon, floating object, huge weapon, weapon on back,
        weapon over shoulder, between objects, drinking straw, playing card, playing cards, mobile suit, nintendo
        switch, playstation, soul gem, mecha, radio antenna, v-fin, eyeball, condom wrapper, animal, monster, game
        boy, game cube, ghost"""),
    "other": _words("""
        fire emblem, one piece, elden ring, fairy tail, a hat in time, ..., !, !!, !?, ?, ??, ?!, ^^^, +++, heart,
        spoken heart, name connection, hypnosis, mind control, time
        paradox, cosplay, fusion, role reversal, alternate universe, scene reference, meme, pun, too many,
        imagining, aged down, aged up, genderswap, animification, animalization, humanization, object namesake,
        costume switch, hair color connection, death, defeat, netorare, femdom, pervert, female pervert, assertive
        female, infection, merry christmas, happy birthday, happy new year, happy halloween, thank you, new year,
        christmas, halloween, valentine, birthday, anniversary, easter, wedding, holiday, gameplay mechanics,
        music, magic, electricity, energy beam, injury, blood, bruise, bruises, dirty, damaged, broken, crack, hot,
        cold, personification, pokemon type, chinese zodiac, clothes writing, take your pick, yin yang, triangle,
        circle, square, pentagram, cross, crescent, danmaku, ranguage, facial, flaccid, gap, text only page, meme
        attire"""),
}
"""Class -> whole tags. They take precedence over all rules of grammar."""

STARTS: Mapping[str, frozenset[str]] = {
    "pose": _words("""
        holding, carrying, playing, using, eating, drinking, feeding, reading, writing, drawing on, sitting,
        standing, lying, leaning, kneeling, squatting, crouching, grabbing, lifting, reaching, riding, adjusting,
        looking, covering, hugging, kissing, licking, biting, sucking, touching, pulling, tying, untying, aiming,
        throwing, wielding, removing, undoing, putting, opening, closing, pushing, dragging, stroking, petting,
        poking, pinching, scratching, rubbing, brushing, combing, washing, cooking, cutting, pouring, taking,
        giving, showing, offering, presenting, pointing, waving, playing with, peeking, hiding, climbing, chasing,
        catching, kicking, punching, fighting, swinging, spinning, dancing, walking, running, jumping, flying,
        waking, turning, crossing, spreading, raising, folding, clenching, stretching, arching, resting, floating
        in, blowing, chewing, sleeping on, on, against, under, between, arm around, arms around, hand on, hands on,
        tearing, pulled, shushing, straddling, stepping, wading, soaking, imminent, double penetration, deep
        penetration, shared, partially removed, in"""),
    "view": _words("""
        from, view from, seen from, view of, facing, focus on, pov, shot from, camera"""),
    "style": _words("""
        art by, style of, in the style of, drawn by, inspired by"""),
    "quality": _words("""
        score, rating, very aesthetic, extremely, source, bad, poorly drawn, extra digit, fewer digit, year,
        censored"""),
    "background": _words("""
        in the, at the, near, beside, by the, at night, on beach, on street"""),
    "other": _words("""
        alternate, official alternate, adapted, spoken, borrowed, convenient, implied, character request"""),
    "outfit": _words("""
        fake, unworn, removed, wearing, dressed"""),
}
"""Class -> first words. A tag of `OUTFIT_OR_BODY` starts is the wearer's whatever the noun is."""

ENDS: Mapping[str, frozenset[str]] = {
    "count": _words("""
        girls, boys, others, people, women, men, females, males"""),
    "pose": _words("""
        pose, stance, position, own hips, own hip, own chest, own face, own mouth, own hair, own cheek, own cheeks,
        own head, own knees, own knee, own thigh, own chin, each other, sitting, standing, lying, kneeling,
        squatting, crouching, walking, running, jumping, dancing, flying, swimming, sleeping, floating, falling,
        fighting, leaning, reclining, stretching, waving, bathing, showering, training, playing, gesture, salute,
        hug, kiss, lift, pull, tug, grab, grope, carry, hold, aside, kick, punch, lick, bite, pat, peek, riding,
        apart, together, crossed, akimbo, raised, outstretched, carrying, pillow hug, lap pillow, penetration,
        handjob, fellatio, paizuri, cunnilingus, fingering, masturbation, sex, footjob, docking, rub, press, dive,
        jump, run, walk, spin, nap, wiggle, wagging, sandwiched, smoking, massage, fight, punching, conversation,
        talking, bathing together, slip, malfunction, tilt, wading, squat, balancing, unsheathing, firing, throw,
        twirl, cartwheel, flip, glance, puppet, stare, clap, handshake, high five, fist bump, curtsy, somersault,
        backflip, stomp, tiptoe, crawl, slump, sprawl, stroll, swing, leap, choke, strangle, embrace, cuddle,
        snuggle, nuzzle, headbutt, slap, pinch, poke, tickle, shove"""),
    "view": _words("""
        view, views, shot, focus, body, angle, out of frame, in frame, from behind, from above, from below, from
        side, close-up, closeup, perspective, up shot, composition, framing, headshot, portrait, profile, pov,
        visible through thighs, visible through hair"""),
    "expression": _words("""
        expression, smile, smiles, smiling, grin, grinning, frown, smirk, tears, blush, pout, mouth, sweatdrop,
        sweat, glare, scowl, laugh, gaze, tongue out, fang out, brow, open mouth, brows, sigh, tear, teardrop,
        look, saliva, drool, teeth clenched, mood, eyes closed, eye closed, veins, sneer, wince, gasp, clenched
        teeth"""),
    "lighting": _words("""
        light, lights, lighting, sunlight, shadow, shadows, shade, rays, sunbeam, sunbeams, moonlight, candlelight,
        lamplight, firelight, spotlight, glow, caustics, flare, glint, lit, illumination, backlight, starlight,
        daylight, exposure, sparkles, shading light, light trail, searchlight, afterglow, gleam, shimmer, twinkle,
        floodlight"""),
    "background": _words("""
        background, backdrop, sky, cloud, clouds, grass, field, meadow, forest, woods, jungle, tree, trees, bush,
        water, ocean, sea, beach, shore, seaside, coast, river, stream, lake, pond, waterfall, mountain, mountains,
        hill, cliff, cave, desert, sand, island, snow, rain, storm, fog, mist, ice, wind, rainbow, lightning,
        aurora, city, cityscape, town, village, skyline, street, alley, road, path, sidewalk, crosswalk, building,
        house, skyscraper, tower, lamppost, power lines, utility pole, park, garden, playground, courtyard, farm,
        room, bedroom, classroom, kitchen, bathroom, office, cafe, restaurant, bar, library, school, hospital,
        shop, store, mall, market, hotel, museum, theater, gym, hallway, corridor, entrance, doorway, door, doors,
        gate, torii, window, wall, floor, tiles, ceiling, roof, rooftop, balcony, veranda, porch, stairs,
        staircase, railing, fence, pillar, column, arch, bed, couch, sofa, chair, armchair, throne, stool, bench,
        table, desk, kotatsu, shelf, bookshelf, curtains, curtain, blinds, carpet, rug, tatami, futon, bathtub,
        shower, toilet, sink, bath, locker, counter, fireplace, chandelier, sunset, sunrise, space, planet, earth,
        stars, moon, sun, castle, palace, ruins, temple, shrine, church, graveyard, dungeon, prison, bridge, train
        station, station, street sign, airport, harbor, pier, dock, interior, exterior, studio, stage, arena,
        stadium, scenery, landscape, horizon, petals, blossoms, blossom, leaves, foliage, vines, bamboo, lily pad,
        reeds, waves, wave, onsen, pool, swimming pool, poolside, festival, fireworks, snowflakes, winter, summer,
        spring, autumn, night, evening, day, architecture, scene, location, place, weather, embers, explosion,
        screens, environment, aquarium, greenhouse, warehouse, factory, laboratory, lab, basement, attic, tent,
        hut, cabin, lighthouse, windmill, fountain, well, statue, ferris wheel, sandcastle, valley, canyon, lava,
        swamp, crater, moonscape, puddle, magic circle, smoke, dust, debris, rubble, chalkboard, whiteboard, picnic
        blanket, shoji, sliding doors, tile wall, wardrobe, cabinet, drawer, dresser, nightstand, bus stop, vending
        machine, billboard, house interior, cockpit, alleyway, neighborhood, suburb, countryside, plain, plains,
        hills, woodland, lawn, hedge, trunk, stump, roots, moss, mushroom forest, seabed, reef, sandbar, sandbank,
        hot spring, reflection, galaxy, milky way, nebula, storefront, pagoda, sauna, grave, windowsill, mat,
        patio, terrace, gazebo, pavilion, alcove, plaza, square, intersection, tunnel, subway, platform, runway,
        highway, parking lot, gas station, bleachers, pasture, orchard, vineyard, savanna, tundra, prairie, oasis,
        dune, dunes, glacier, iceberg, volcano, geyser, lagoon, bay, cove, riverbank, riverside, lakeside,
        waterfront, boardwalk, throne room, ballroom, living room, dining room, locker room, changing room, waiting
        room, nursery, study, dormitory, apartment, penthouse, mansion, cottage, barn, stable, igloo, skylight,
        windowpane, chimney, doorstep, threshold, banister, archway, colonnade, obelisk, monument, maze, labyrinth,
        battlefield, colosseum, sewers, sewer, junkyard, scrapyard, construction site, rice paddy, paddy, hedgerow,
        flowerbed, thicket, underbrush, drizzle, downpour, blizzard, hail, thunderstorm, tornado, haze, frost, dew,
        overcast, seascape, skyscape, dreamscape, streetscape, townscape"""),
    "style": _words("""
        style, artstyle, art style, theme, palette, coloring, shading, painting, drawing, sketch, art, tones, tone,
        medium, lineart, lines, outline, outlines, comic, comics, manga, anime, cartoon, illustration, render,
        rendering, photo, photograph, photography, screenshot, koma, border, borders, frame border, halftone,
        texture, brushwork, brushstrokes, stroke, strokes, contrast, saturation, color, colors, parody, filter,
        effect, effects, grain, aberration, poster style, cg, cover, collage, chart, inset, aesthetic, punk, core,
        dof, lens, film, layer, gradient map, graffiti, mosaic, fiction, fantasy, reference sheet, character sheet,
        model sheet, expression sheet, sprite sheet, still life, x-ray, blueprint, cross-hatching, hatching,
        stippling, pointillism, cubism, fresco, linocut, woodblock print, engraving, etching, papercraft, origami,
        diorama, impasto, airbrush, pixel, pixels, clipart, storyboard, infographic, diagram, schematic, icon,
        sticker, wallpaper, avatar, emote, cutaway, photomontage, double exposure, tilt shift, glitch, vhs,
        cyberpunk, surrealism, expressionism, realism, abstract, doodle, scribble, caricature, line drawing"""),
    "quality": _words("""
        quality, username, artifacts, watermark, request, name, signature, resolution, res, anatomy, proportions,
        digits, digit, rating, aesthetic score, masterpiece, text, logo, copyright notice, notice, copyright, url,
        address, caption, subtitle, subtitles, subtitled, commentary, id, tagme, jpeg, compression, detailed,
        details, censoring, censor, onomatopoeia, edit, speech bubble, thought bubble, uhd, hdr, 4k, 8k"""),
    "identity": _words("""
        hair, haircut, hairstyle, hairdo, hairline, eyes, eye, ears, ear, tail, tails, wings, wing, horns, horn,
        skin, bangs, fringe, sidelocks, sidelock, locks, twintails, twintail, pigtails, ponytail, ponytails, braid,
        braids, cornrows, bun, buns, updo, bob, bob cut, hime cut, pixie cut, buzz cut, crew cut, undercut, drill,
        drills, ringlets, curls, afro, dreadlocks, mohawk, pompadour, topknot, cowlick, ahoge, hair intakes,
        intakes, hair flaps, side up, sideburns, pupils, pupil, iris, irises, sclera, eyebrows, eyebrow, eyelashes,
        eyelash, eyelids, beard, mustache, goatee, stubble, whiskers, fang, fangs, freckles, mole, moles, beauty
        mark, birthmark, scar, scars, markings, marking, facial mark, forehead mark, body markings, tattoo,
        tattoos, nose, lips, lip, chin, jaw, jawline, cheekbones, cheeks, dimples, wrinkles, forehead, face,
        complexion, breasts, breast, chest, pecs, pectorals, abs, muscles, biceps, waist, hips, thighs, physique,
        build, figure, body type, bodytype, heterochromia, antennae, antenna, antlers, antler, fur, scales, fins,
        fin, gills, tentacles, claws, hooves, paws, snout, muzzle, beak, tusks, fluff, plumage, mane, fingernails,
        toenails, sharp teeth, shark teeth, round teeth, teeth, mechanical arm, prosthetic arm, prosthetic leg,
        prosthetic hand, mechanical arms, mechanical legs, joint, halo, elf, vampire, demon, angel, oni, kitsune,
        fairy, mermaid, dragon boy, creature, long tongue, belly, mons, third eye, bulge, pussy, penis, testicles,
        pubic hair, armpit hair, foreskin, height, stature, muscular, slime body, toned, curvy, petite, male,
        female, legs, whisker, tan, tailed, eyed, haired, skinned, eared, horned, winged, legged, cheeked,
        breasted, animal hands, animal feet, winged arms, head fins, animal nose, cut, lesion, tips, streaks,
        highlights, strands, parting, hairs, traits"""),
    "outfit": _words("""
        buttons, button, zipper, pocket, pockets, trim, seams, hem, lapel, lapels, drawstring, tassel, tassels,
        fringe trim, pom poms, print, pattern, patterns, cutout, cutouts, overhang, opening, slit, vent, nails,
        nail polish, polish, lipstick, eyeshadow, eyeliner, mascara, makeup, blusher, facepaint, costume, costumes,
        outfit, outfits, clothes, clothing, attire, wear, garments, garb, fabric, buckle, buckles, strap, sleeve,
        hemline, neckline, nude, topless, undressed, unbuttoned, unzipped, bare shoulders, off shoulder, zettai
        ryouiki, midriff, cleavage, shoulder, sideboob, underboob, piercing, piercings, gemstone, jewel, stitches,
        stitching, spikes, studs, chains, padding, layers, bandaid, bandaids, plaster, cast, prosthetic, cosplay,
        fashion, underbust, visible through clothes, through clothes, under clothes, rolled up, past wrists, past
        fingers, past elbows, around waist, around neck, on shoulders, on headwear, through headwear, tucked in,
        open, untied, tie-front, cuffs, cuff, emblem, insignia, epaulette, fishnets, fishnet, zipper pull tab, pull
        tab, soles, knot, protector, thighlet, tasuki"""),
    "object": _words("""
        weapon, weapons, sword, swords, katana, blade, knife, knives, dagger, spear, lance, polearm, halberd,
        trident, scythe, axe, hammer, mace, club, staff, wand, bow and arrow, arrow, arrows, quiver, crossbow,
        shield, sheath, scabbard, gun, guns, handgun, pistol, revolver, rifle, shotgun, machine gun, launcher,
        cannon, turret, torpedo, bomb, grenade, missile, ammunition, bullet, bullets, shell casing, whip, rope,
        chain, handcuffs, shackles, cage, lock, key, keys, tool, tools, wrench, screwdriver, saw, shovel, pickaxe,
        broom, mop, bucket, ladder, umbrella, parasol, fan, cane, walking stick, folding fan, folding chair,
        sleeping bag, cutting board, rolling pin, fishing line, washing machine, spinning wheel, stick, pole, rod,
        fishing rod, flag, banner, poster, sign, signboard, signpost, paper, papers, letter, envelope, card, cards,
        ticket, money, coin, coins, book, books, open book, notebook, magazine, newspaper, scroll, map, picture
        frame, painting frame, pen, pencil, paintbrush, brush, palette knife, easel, canvas, clipboard, scissors,
        ruler, calculator, tape, glue, box, gift, present, package, cardboard box, crate, barrel, basket,
        container, jar, bottle, can, vase, pot, teapot, kettle, pan, frying pan, cup, mug, teacup, glass, wine
        glass, cocktail, saucer, plate, plates, dish, bowl, tray, spoon, fork, chopsticks, ladle, spatula,
        utensils, straw, food, foods, meal, bento, rice, onigiri, sushi, noodles, ramen, soup, bread, toast,
        burger, hamburger, pizza, hot dog, taiyaki, dango, mochi, wagashi, cake, cupcake, pie, cookie, cookies,
        doughnut, pancake, pancakes, waffle, crepe, macaron, pudding, parfait, ice cream, ice cream cone, popsicle,
        candy, lollipop, chocolate, chips, snack, pocky, popcorn, pretzel, meat, steak, bacon, sausage, egg, eggs,
        cheese, butter, fruit, fruits, apple, banana, peach, pear, grapes, cherry, cherries, strawberry, blueberry,
        raspberry, lemon, lime, melon, watermelon, pineapple, mandarin, mandarin orange, coconut, kiwi, mango,
        vegetable, vegetables, carrot, tomato, potato, onion, radish, cabbage, lettuce, pumpkin, eggplant,
        cucumber, corn, garlic, mushroom, nut, acorn, chestnut, gourd, drink, drinks, beverage, water bottle, drink
        can, coffee, tea, milk, juice, soda, beer, wine, sake, alcohol, cigarette, cigarettes, cigar, smoking pipe,
        pipe, lighter, ashtray, syringe, pill, pills, medicine, test tube, flask, potion, phone, cellphone,
        smartphone, telephone, tablet, tablet pc, computer, laptop, keyboard, mouse cursor, monitor, screen,
        television, tv, radio, speaker, camera, tripod, video camera, microphone, microphone stand, console,
        controller, joystick, battery, cable, cord, wire, wires, lamp, lantern, candle, candles, torch, flashlight,
        light bulb, clock, hourglass, mirror, hand mirror, toy, toys, doll, teddy bear, stuffed animal, stuffed
        toy, plush, plushie, balloon, balloons, ball, beachball, basketball, football, baseball, volleyball, tennis
        ball, racket, bat, baseball bat, skateboard, snowboard, surfboard, ski, skis, dice, chess piece, playing
        card, puzzle, game, kite, yo-yo, instrument, guitar, electric guitar, bass guitar, violin, cello, piano,
        drum, drums, flute, trumpet, saxophone, harp, shamisen, drumsticks, plectrum, whistle, bell, gohei, ofuda,
        talisman, paper lantern, flower pot, potted plant, plant, plants, flower, flowers, rose, roses, sunflower,
        tulip, lily, lotus, hydrangea, daisy, hibiscus, camellia, dandelion, lavender, bouquet, petal, leaf,
        clover, branch, twig, thorns, stone, rock, rocks, crystal, crystals, gold, treasure, bone, bones, skull,
        feather, seashell, shell, starfish, vehicle, car, cars, truck, bus, train, tank, motorcycle, motorbike,
        bicycle, bike, scooter, boat, ship, yacht, submarine, aircraft, airplane, plane, helicopter, spacecraft,
        spaceship, rocket, drone, wheel, tire, machine, machinery, pillow, cushion, blanket, towel, bedding, sheet
        cloth, cloth, suitcase, luggage, trash can, trash bag, sack bag, animal, animals, cat, cats, kitten, dog,
        dogs, puppy, bird, birds, chick, chicken, duck, penguin, crow, owl, eagle, parrot, dove, rabbit, bunny,
        mouse, rat, hamster, squirrel, fox, wolf, bear, panda, lion, tiger, horse, pony, unicorn, cow, bull, pig,
        sheep, goat, deer, monkey, elephant, snake, lizard, turtle, frog, dinosaur, fish, goldfish, shark, whale,
        dolphin, octopus, squid, jellyfish, crab, shrimp, insect, bug, butterfly, bee, spider, ant, beetle,
        dragonfly, dragon, phoenix, pet, fishes, hitodama, ghost, spirit, familiar, slime, poke ball, pokeball,
        orb, sphere, cube, prop, object, item, items, device, gadget, remote, tail plug, vibrator, dildo, condom,
        sex toy, sunscreen, soap, sponge, shampoo, toothbrush, comb, hairbrush, hair dryer, perfume, snowman,
        snowball, pedestal, swim ring, innertube, float, hammock, web, spider web, confetti popper, gift bag,
        shopping bag, school supplies, fire extinguisher, hose, stroller, cart, wheelchair, crutch, anvil, string,
        yarn, needle, thread, medal, trophy, chopping board, apron strings, altar, coffin, gravestone, tombstone,
        bead, beads, robot, mecha suit, energy sword, energy, flame, flames, cotton candy, clothes hanger,
        clothesline, laundry, megaphone, binoculars, telescope, microscope, compass, magnifying glass, chainsaw,
        chakram, shuriken, kunai, nunchaku, boomerang, gem, gems, sack, feathers, gears, bubbles, bubble, slice,
        wrapper, anchor, eyeball, watercraft, shimenawa, sakazuki, torpedoes, figurine, stack, lanterns, spoons,
        fire, raft, net, board, sparrow, koi, racecar, spaghetti, salad, pasta, amplifier, wallet, tongs,
        lightsaber, saber, bokken, tonfa, boxcutter, thermos, plug, swan, seagull, pigeon, hedgehog, raccoon,
        otter, seal, koala, kangaroo, moth, ladybug, caterpillar, snail, worm, crane, flamingo, peacock, goose,
        turkey, rooster, hen, lamb, calf, foal, gecko, crocodile, alligator, salmon, tuna, eel, lobster, oyster,
        clam, wheat, sandwich, omelet, curry, stew, dumpling, sashimi, tempura, tofu, croissant, baguette, bagel,
        tart, brownie, marshmallow, gummy, gum, jelly, yogurt, honey, jam, syrup, smoothie, latte, cappuccino,
        lemonade, champagne, whiskey, vodka, soy sauce, ketchup, spice, herb, pepper, bell pepper, broccoli,
        cauliflower, celery, spinach, bean, beans, pea, peas, ginger, plum, apricot, fig, pomegranate, papaya,
        avocado, olive, almond, peanut, walnut, stethoscope, thermometer, first aid kit, toolbox, nail, screw,
        hinge, magnet, gear, cog, propeller, engine, satellite, radar, robot arm, typewriter, printer, projector,
        headlight, refrigerator, fridge, microwave, oven, stove, toaster, blender, rice cooker, vacuum cleaner,
        iron, sewing machine, air conditioner, heater, canteen, lunchbox, picnic basket, shopping cart, dumbbell,
        barbell, kettlebell, yoga mat, jump rope, hula hoop, trampoline, frisbee, dart, darts, bowling pin, golf
        club, hockey stick, cricket bat, skate, skates, sled, canoe, kayak, paddle, oar, sail, surfboards, chariot,
        carriage, wagon, tractor, ambulance, taxi, van, jeep, mecha, cannonball, catapult, sickle, rapier, sabre,
        scimitar, machete, dao, naginata, glaive, claymore, longsword, greatsword, warhammer, flail, morning star,
        slingshot, blowgun, flamethrower, bazooka, rocket launcher, landmine, dynamite, fuse, artifact, amulet,
        totem, chalice, goblet, tankard, incense, relic, scepter, rosary, bible, grimoire, tarot, crystal ball,
        cauldron, broomstick, sheet, sheets, bed sheet, mattress, duvet, quilt, explosive, explosives, firearm,
        weaponry, gadgetry, utensil, cutlery, tableware, crockery, appliance, equipment, supplies"""),
    "other": _words("""
        symbol, connection, challenge, reference, namesake, note, notes, mark, sign language, words, writing,
        kanji, hiragana, number, letters, emoji, arrows symbol, barcode, question mark, exclamation mark, ellipsis,
        musical note, eighth note, swap, switch, transformation, difference, joke, universe, persona"""),
}
"""Class -> last words, one to three of them; the longest match counts."""

GARMENTS = _words("""
    dress, sundress, skirt, miniskirt, skirt set, petticoat, shirt, undershirt, t-shirt, tee, polo, blouse, tunic,
    sweater, pullover, jumper, sweatshirt, cardigan, hoodie, jacket, blazer, parka, windbreaker, coat, trenchcoat,
    overcoat, raincoat, labcoat, vest, waistcoat, poncho, shawl, stole, cape, capelet, cloak, mantle, robe,
    bathrobe, kimono, yukata, haori, hakama, kariginu, furisode, hanten, jinbei, hanfu, cheongsam, qipao, hanbok,
    sari, sarong, toga, dougi, fundoshi, sarashi, loincloth, tabard, uniform, serafuku, sailor uniform, gakuran,
    buruma, suit, tuxedo, plugsuit, jumpsuit, tracksuit, spacesuit, wetsuit, overalls, dungarees, apron, pants,
    trousers, jeans, shorts, cutoffs, bloomers, leggings, tights, pantyhose, stockings, thighhighs, kneehighs,
    over-kneehighs, socks, sock, thighhigh, kneehigh, legwear, leg warmers, arm warmers, gaiters, puttees, shoes,
    shoe, boots, boot, sandals, geta, zouri, okobo, tabi, uwabaki, mary janes, pumps, sneakers, trainers, high
    heels, heels, heel, flats, flip-flops, footwear, slippers, slipper, loafers, crocs, gloves, glove, mittens,
    sleeves, collar, neckwear, choker, necklace, pendant, locket, earrings, earring, earclip, ear cuff, bracelet,
    bangle, anklet, armlet, armband, wristband, wrist cuffs, ring, rings, jewelry, brooch, pin, belt, belts, sash,
    obi, obijime, obiage, cummerbund, scarf, muffler, bandana, neckerchief, kerchief, necktie, tie, bowtie, cravat,
    ascot, jabot, bow, bows, ribbon, ribbons, hairband, headband, hachimaki, hairclip, hairpin, hairpods, hair
    stick, hair tie, hair bobbles, bobbles, barrette, ornament, ornaments, tiara, crown, circlet, wreath, laurel,
    headpiece, headdress, headwear, headgear, headscarf, hat, hats, cap, caps, beret, fedora, beanie, bonnet,
    bowler, sunhat, visor, hood, hoods, helmet, helm, veil, turban, eboshi, headphones, earphones, earmuffs,
    headset, earpiece, ear covers, hair tubes, glasses, sunglasses, eyewear, spectacles, monocle, goggles,
    pince-nez, mask, masks, blindfold, eyepatch, gag, armor, breastplate, cuirass, pauldrons, vambraces, bracer,
    gauntlets, gauntlet, greaves, faulds, chainmail, pads, pad, guards, armguards, epaulettes, aiguillette,
    harness, holster belt, suspenders, garter, garters, garter belt, bag, handbag, backpack, randoseru, satchel,
    pouch, purse, briefcase, fanny pack, swimsuit, swimwear, bikini, one-piece, trunks, leotard, bodysuit,
    bodystocking, catsuit, unitard, underwear, undergarments, bra, bras, bustier, brassiere, sports bra, panties,
    thong, briefs, boxers, jockstrap, lingerie, negligee, nightgown, babydoll, chemise, pajamas, sleepwear,
    nightwear, loungewear, camisole, corset, bandeau, tube top, tank top, crop top, halter top, top, tops,
    turtleneck, pasties, bandages, bandage, badge, name tag, nametag, lanyard, frills, flounces, lace, scrunchie,
    epaulet, spats, corsage, boa, hairnet, snood, cosplay outfit, anklets, bracers, necktie pin, watch, wristwatch,
    pocket watch, dog tags, leash, straps, hair flower, hat flower, shoulder armor, pelvic curtain, sweater vest,
    diaper, swim cap, shower cap, headcover, habit, wimple, kilt, culottes, romper, onesie, kigurumi, tailcoat,
    coattails, facewear, muzzle guard, cosmetics, ear tag, mitre, bib, surcoat, sukajan, dudou, medallion, bolero,
    dirndl, tutu, pinafore, jerkin, doublet, breeches, pantaloons, knickers, hotpants, jeggings, spandex, kaftan,
    caftan, dashiki, sombrero, bandanna, pashmina, sandal, moccasins, clogs, espadrilles, stilettos, wedges,
    galoshes, cufflinks, tie clip, signet, brace, braces, kneepads, earplugs, ear muffs, hijab, niqab, burqa,
    tunics, smock, housecoat, anorak, peacoat, raglan, henley, jersey, leotards, thigh highs, knee highs, gown,
    holster""")
"""What is worn. A longer tag that ends in one of them names it too: `white dress` implies `dress`."""

BRACKETS: Mapping[str, str] = {
    **dict.fromkeys(("style", "medium", "artwork", "photo style", "texture", "art"), "style"),
    **dict.fromkeys(("weapon", "object", "projectile", "fruit", "animal", "creature", "flower", "food", "substance",
                     "instrument", "toy", "vehicle", "tool", "drink", "insect", "bird", "plant", "blade", "bug",
                     "basic", "poke ball", "vegetable", "musical instrument"), "object"),
    **dict.fromkeys(("clothing", "clothes", "garment", "underwear", "swimsuit", "headwear", "footwear", "cheerleader",
                     "cosplay"), "outfit"),
    **dict.fromkeys(("symbol", "shape", "theme", "meme", "mtf", "ftm", "text", "letter", "emoji"), "other"),
    **dict.fromkeys(("sky", "place", "location", "building", "room", "scenery"), "background"),
    **dict.fromkeys(("hair", "eyes", "body", "species", "anatomy"), "identity"),
    **dict.fromkeys(("gesture", "sex", "act"), "pose"),
}
"""What a tag is by the word in its bracket: `bow (weapon)`. Any other bracket names a series and is left out."""

KINDS_OF_BEING = _words("""
    fox, cat, dog, wolf, rabbit, bunny, bear, mouse, horse, tiger, lion, cow, sheep, goat, raccoon, deer, bat,
    bird, dragon, demon, angel, monster, slime, snake, shark, fish, spider, arthropod, insect, bee, moth,
    butterfly, plant, harpy, orc, ogre, goblin, elf, fairy, oni, robot, tanuki, squirrel, hyena, jaguar, leopard,
    panther, cheetah, kangaroo, otter, octopus, squid, jellyfish, crab, lizard, frog, turtle, crocodile, dinosaur,
    pig, monkey, hamster, chicken, owl, swan, penguin, phoenix, ghost, zombie, vampire, skeleton, alien, doll,
    tentacle, furry, muscular, ferret, weasel, red panda, panda, golem, gorgon, lamia, pony, donkey, camel, ox""")
"""`fox girl` is what she is; `magical girl` is what she does."""

BODY_PARTS = _words("""
    hand, hands, arm, arms, leg, legs, knee, knees, foot, feet, finger, fingers, thumb, elbow, elbows, head, heads,
    back, wrist, wrists, ankle, ankles, shoulder, shoulders, hip, hips, thigh, thighs, toe, toes, ears, ear, fist,
    fists, paw, paws, palm, palms, tail, pinky, foreheads, cheeks, index finger, body, wings, wing""")
MOVES = _words("""
    up, down, out, together, apart, raised, lifted, spread, crossed, crossing, clasped, clenched, folded,
    interlocked, bent, bound, outstretched, extended, stretched, behind, between, around, on, at, over, to, in,
    against, wrapped, steepled, held, locked, curled, tilted, turned, open, opened, closed, resting, support, lift,
    grab, hug, slide, linked, intertwined, flapping, wagging, rest, under, pointing, touching, waving, above,
    below, across""")
"""A part of the body with one of these is a pose: `crossed arms`, `hand in pocket`, `knees up`."""
PREPOSITIONS = _words("""
    on, in, over, under, between, behind, around, with, of, through, from, to, for, at, inside, across, above,
    below, beside, near, against, past, without, and, by""")
"""What stands before one of them is what a tag names: `towel on head` is a towel."""
EXPRESSIVE = _words("""
    closed, half-closed, half-lidded, open, wide, narrowed, squinted, squinting, empty, blank, hollow, dull, lifeless,
    sleepy, tired, crazy, sparkling, rolling, rolled, averted, watery, teary, tearful, solid, wavy, dashed, dot,
    spiral, angry, sad, raised, furrowed, crossed, shut, gentle, soft, wincing, twitching, clenched, gritted, pursed,
    bitten, trembling, puffed, flushed, worried, bedroom""")
"""With eyes, eyebrows, lips, teeth, cheeks or a face, these say how she looks now: `half-closed eyes`."""
WEARERS = _words("""
    hair, hat, neck, ear, tail, horn, wrist, ankle, leg, thigh, waist, chest, nose, navel, tongue, collar, shoe,
    head, belt, hip, arm, forehead, lip, finger, choker""")
"""What a thing is worn on: a `hair bell` is an ornament."""
COUNTS_PARTS = _words("""
    white, black, grey, brown, red, orange, yellow, green, blue, purple, pink, tan, cream, gold, golden, silver,
    striped, spotted, multicolored, tone, light, dark, furred, scaly, metal, metallic, chrome,
    extra, multiple, missing, mechanical, prosthetic, animal, long, short, thick, thin, huge, large, big, small,
    tiny, wide, narrow, muscular, four, six, two, single, robotic, cybernetic, bionic""")
"""With a part of the body, a build: `extra arms`."""
UNDONE = _words("""
    up, down, off, open, undone, untied, unbuttoned, unzipped, removed, partially removed, unworn, pulled down""")
"""After a garment, how it is worn: `hood down`."""
COMPOUND_GARMENTS = tuple(sorted(_words("""
    dress, skirt, shirt, suit, coat, jacket, shorts, pants, boots, shoes, gloves, sweater, kimono, uniform, bikini,
    armor, stockings, clothes, glasses, socks, necklace, leotard, thighhighs""")))
"""What longer words for clothes end in: `microskirt`, `bunnysuit`."""
SAYS_IT_IS_WORN = _words("""
    frilled, pleated, striped, plaid, checkered, sleeveless, strapless, off-shoulder, backless, fur-trimmed,
    lace-trimmed, ribbon-trimmed, gold-trimmed, see-through, cross-laced, side-tie, front-tie, crotchless,
    high-waist, oversized, layered, collared, buttoned, knit, ribbed, print, embroidered, hooded, puffy, detached,
    fishnet, vertical-striped, diagonal-striped, toeless, fingerless, unworn, rolled-up, studded, lace-up,
    zippered, double-breasted""")
"""Adjectives that only clothes have."""

BRITISH: Mapping[str, str] = {
    "colour": "color", "armour": "armor", "jewellery": "jewelry", "pyjama": "pajama", "moustache": "mustache",
    "gray": "grey", "centre": "center", "theatre": "theater", "harbour": "harbor", "neighbour": "neighbor",
    "plough": "plow", "aeroplane": "airplane", "favourite": "favorite", "doughnut": "doughnut", "donut": "doughnut",
    "stylised": "stylized", "parlour": "parlor", "blond ": "blonde ", "sceptre": "scepter", "honour": "honor",
}
"""British (and other) spellings -> those of the tables."""

IRREGULAR: Mapping[str, str] = {
    "scarves": "scarf", "knives": "knife", "leaves": "leaf", "wolves": "wolf", "shelves": "shelf", "elves": "elf",
    "hooves": "hoof", "feet": "foot", "teeth": "tooth", "women": "woman", "men": "man", "children": "child",
    "mice": "mouse", "geese": "goose", "fungi": "fungus", "halves": "half", "calves": "calf",
}
"""Plural -> singular, where no rule gives it."""
