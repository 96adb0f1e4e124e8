"""Word lists: names, places, verbs. Data only; what they mean is said where they are used (names.py, english.py)."""


def words(text: str) -> list[str]:
    """The words of a list, in its order."""
    return text.split()


MONTHS = words("""
    January February March April May June July August September October November December
""")  # fmt: skip

# Before a name, alone or in a row: "Lieutenant General Arthur Percival".
TITLES = words("""
    President Prime Minister Vice Chancellor King Queen Emperor Empress Tsar Prince Princess Duke Duchess Count
    Countess Earl Baron Baroness Lord Lady Sir Dame Pope Cardinal Archbishop Bishop Saint General Lieutenant Major
    Colonel Brigadier Captain Commander Sergeant Corporal Private Field Marshal Air Chief Wing Group Squadron Leader
    Admiral Rear Commodore Grand Generaloberst Oberst Generalleutnant Generalmajor Feldmarschall
    Generalfeldmarschall Obergruppenführer Doctor Dr. Professor Prof. Mr. Mrs. Ms. Gen. Lt. Col. Capt. Adm. Sgt.
    Senator Governor Ambassador Secretary Foreign Premier Führer Second First Sub-Lieutenant Flying Officer Pilot
    Flight Reichsmarschall Judge Justice
""")  # fmt: skip

# Parts of a title that, last before a name, prove nothing: "First Sea", "Group Captain".
WEAK_TITLES = words("""
    Air Chief Commander Field First Flight Flying Foreign Grand Group Judge Justice Leader Pilot Prime Private Rear
    Second Secretary Squadron Vice Wing
""")  # fmt: skip
GIVEN_NAMES = words("""
    Aaron Abraham Adam Adolf Adrian Ahmed Alan Albert Aldous Aleksandr Alexander Alexandre Alexei Alfred Alice Allan
    Allen Anatole Andre Andrei Andrew André Angelo Anna Anne Anthony Anton Antonio Aristotle Arthur Artur August
    Auguste Ayn Barack Benito Benjamin Bernard Bertram Bill Bob Boris Brian Bruno Carl Carlo Carlos Caroline
    Catherine Cesare Charles Chester Chiang Chris Christian Christopher Chuichi Claire Clara Clark Claude Claus
    Clement Cornelius Courtney Curtis Daniel David Dean Diego Dmitri Dmitry Donald Dorothy Douglas Dwight Edgar
    Edmund Edouard Eduard Edvard Edward Eleanor Elizabeth Ellen Emil Emile Emily Emma Emmanuel Enrico Eric Erich
    Ernest Ernst Erwin Eugen Eugene Eugène Eva Ewald Fedor Felix Ferdinand Fidel Filipp Francis Francisco Frank
    Franklin Franz François Fred Frederick Friedrich Fritz Galeazzo Gavin Geoffrey Georg George Georges Georgi
    Georgy Gerald Gerd Gerhard Giacomo Giorgio Giovanni Giuseppe Gordon Grace Graham Gunther Gustav Guy Günther
    Haakon Hans Harold Harriet Harry Hasso Heinrich Heinz Helen Helmuth Henri Henry Herbert Herman Hermann Hideki
    Hiroaki Hirohito Hiroshi Hjalmar Hugh Hugo Ian Igor Ilya Immanuel Isaac Isoroku Ivan Jack Jacob Jacques James
    Jan Jane Jawaharlal Jean Jens Jeremy Jerome Jim Jimmy Jisaburo Joachim Joan Joe Johan Johann Johannes John Jonas
    Jonathan Josef Joseph Joshua José Juan Judith Jules Julia Julian Julius Jürgen Karel Karl Katherine Keith Ken
    Kenneth Kichisaburo Kirill Kiyoshi Klaus Klement Konrad Konstantin Kurt Laurence Lawrence Leo Leon Leonard
    Leonid Leopold Leslie Lev Lewis Lise Louis Louise Lucian Lucien Ludwig Luigi Manfred Manuel Marc Marcel Marco
    Margaret Maria Marian Marie Mark Martha Martin Mary Matome Matthew Maurice Max Maxime Maximilian Michael Michel
    Miguel Mikhail Minoru Mitsuo Mohandas Muhammad Murray Napoleon Nathan Neil Neville Nicholas Nikita Nikola
    Nikolai Nobutake Norman Noël Oliver Omar Osami Oscar Oskar Otto Pablo Patrick Paul Pavel Percy Peter Petr Philip
    Philippe Pierre Pietro Pyotr Rafael Raizo Ralph Raoul Ray Raymond Reginald Reinhard René Richard Risto Robert
    Roberto Rodion Roger Roland Rolf Ronald Roy Rudolf Rupert Russell Salvador Sam Samuel Sarah Semyon Sepp Sergei
    Sigmund Simo Simon Soemu Sophie Stafford Stanislaw Stanisław Stefan Stephen Steve Steven Stewart Susan Tadamichi
    Tadeusz Takagi Takeo Takijiro Ted Theodor Theodore Thomas Thurgood Timothy Tom Tomoyuki Trygve Ulysses Vasily
    Vera Victor Vidkun Viktor Vincent Virginia Vladimir Vyacheslav Väinö Walter Walther Werner Wilhelm Will William
    Willy Winfield Winston Wladyslaw Wolfgang Władysław Yevgeny Yuri Yves Zhou
""")  # fmt: skip

# "Suda Bay", "Karelian Isthmus".
PLACE_HEADS = words("""
    Airfield Atoll Bay Beach Canal Castle Channel Coast County Desert Fjord Forest Gulf Harbor Harbour Island
    Islands Isthmus Lake Mountains Oblast Ocean Palace Pass Peninsula Province River Sea Strait Straits Valley
""")  # fmt: skip

# "Mount Suribachi".
PLACE_STARTS = words("""
    Bay Camp Cape Fort Gulf Isle Lake Mount Port Strait
""")  # fmt: skip

# A span with one of these is an event, a body, a day, a people: "in Operation Torch", "at Christmas".
NOT_PLACES = words("""
    Academy Act Age Ages Agreement Air Allied Allies Antiquity Arabic Army Article Award Awards Axis Battle Bible
    Book Cabinet Championship Chapter Chinese Christ Christian Christmas Church College Conference Congress
    Convention Corps Council Cup Day Directive Division Earth Easter Eastern Empire English Enlightenment Figure
    Fleet Force Forces French Friday Front Games German God Government Greek Group HMS Hebrew Holocaust House
    Institute Islamic Italian Japanese Jesus Jewish Latin League Line Middle Monday Moon Museum Navy Nazi New
    Northern Old Olympic Olympics Open Operation Pact Parliament Part Party Plan Project Red Renaissance Russian SS
    Saturday School Section Senate Southern Soviet Spanish Squadron Sun Sunday Table Task Testament Theory Thursday
    Times Treaty Tuesday USS University Volume War Wars Wednesday Western World
""")  # fmt: skip

# What a name with one of these is called after a person, at most: "Francis Winspear Centre", "President's Council".
NOT_PEOPLE = words("""
    Airport Archipelago Association Books Bridge Building Cathedral Center Centre Charitable Club Collection Command
    Commission Committee Company Consort Corporation Dates Election Festival Field Foundation Gallery Highway Hospital
    Hotel Jr Land Laboratory Library Lighthouse Medal Memorial Orchestra Party Patriots Pavilion Press
    Prize Proclamation Railway Road Society Sound Sr Stadium Staff Station Street Studies Symphony Theater Theatre
    Trophy Trust Union Ventures Version
""")  # fmt: skip

# Capital at the start of a sentence only.
FUNCTION_WORDS = words("""
    a about after against all almost although among an another around as at before between both by during each early
    eight five for four from her his in its late many more most nearly nine no of on only other over seven several
    since six some ten that the their these this those though three through two under until when while with without
""")  # fmt: skip
NUMBERS = words("""
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty thirty forty fifty
""")  # fmt: skip

# With commas between: some have spaces.
PLACES = """
    Aachen, Africa, Alabama, Alaska, Albania, Alexandria, Algeria, Algiers, Alsace, Amsterdam, Anchorage, Andorra,
    Antwerp, Anzio, Arabia, Archangel, Ardennes, Argentina, Armenia, Arnhem, Asia, Athens, Atlanta, Australia,
    Austria, Azerbaijan, Baku, Bangkok, Bastogne, Bavaria, Bayeux, Belarus, Belgium, Belgrade, Benghazi, Bergen,
    Berlin, Bermuda, Berne, Białystok, Birmingham, Bizerte, Bletchley Park, Bologna, Bombay, Bonn, Bordeaux, Borneo,
    Boston, Brazil, Bremen, Brest, Bristol, Britain, Brittany, Brussels, Bucharest, Budapest, Buenos Aires,
    Bulgaria, Burma, Caen, Cairo, Calais, Calcutta, California, Cambodia, Cambridge, Canada, Canea, Canton,
    Cape Town, Casablanca, Cassino, Catania, Caucasus, Cherbourg, Chicago, Chile, China, Chongqing, Chungking,
    Cologne, Connecticut, Copenhagen, Corregidor, Coventry, Crete, Crimea, Cuba, Cyprus, Czechoslovakia, Damascus,
    Danzig, Darwin, Delhi, Denmark, Detroit, Dieppe, Dresden, Dublin, Dunkirk, Düsseldorf, East Prussia, Edinburgh,
    Egypt, El Agheila, El Alamein, England, Essen, Estonia, Ethiopia, Europe, Finland, Flanders, Florence, Florida,
    Formosa, France, Gdańsk, Geneva, Genoa, Georgia, Germany, Ghent, Gibraltar, Glasgow, Greece, Greenland,
    Guadalcanal, Guam, Haiti, Halifax, Hamburg, Hanoi, Hanover, Harbin, Hawaii, Heidelberg, Helsinki, Heraklion,
    Hiroshima, Hokkaido, Holland, Hong Kong, Honolulu, Honshu, Hull, Hungary, Iceland, Imphal, India, Indiana,
    Indochina, Indonesia, Iran, Iraq, Ireland, Israel, Istanbul, Italy, Iwo Jima, Jamaica, Japan, Java, Jerusalem,
    Jordan, Kandahar, Kansas, Kazakhstan, Kentucky, Kenya, Kharkov, Kiel, Kiev, Kirkenes, Kohima, Kokura, Korea,
    Krakow, Kraków, Kuala Lumpur, Kursk, Kyiv, Kyoto, Kyushu, Königsberg, Latvia, Lebanon, Leipzig, Leningrad,
    Leyte, Liberia, Libya, Lille, Lisbon, Lithuania, Liverpool, London, Los Alamos, Los Angeles, Louisiana,
    Luxembourg, Luzon, Lwów, Lyon, Lübeck, Macedonia, Madrid, Malaya, Malaysia, Maleme, Malta, Manchester,
    Manchuria, Mandalay, Manila, Marseille, Maryland, Massachusetts, Melbourne, Memel, Messina, Mexico, Michigan,
    Midway, Milan, Minneapolis, Minnesota, Minsk, Mississippi, Missouri, Moldova, Mongolia, Monte Cassino, Montreal,
    Morocco, Moscow, Mozambique, Munich, Murmansk, Nagasaki, Namsos, Nanking, Naples, Narvik, Nebraska, Netherlands,
    Nevada, New Delhi, New Guinea, New Jersey, New Mexico, New Orleans, New York, New York City, New Zealand,
    Nijmegen, Normandy, North Africa, North America, Norway, Norwich, Nuremberg, Odessa, Ohio, Okinawa, Oran,
    Oregon, Orel, Orkney, Orleans, Oslo, Ottawa, Oxford, Palermo, Palestine, Panama, Paris, Pearl Harbor,
    Pennsylvania, Persia, Peru, Petsamo, Philadelphia, Philippines, Pittsburgh, Plymouth, Poland, Polynesia,
    Port Moresby, Portsmouth, Portugal, Potsdam, Poznań, Prague, Prokhorovka, Prussia, Puerto Rico, Quebec, Rabaul,
    Rangoon, Reims, Remagen, Rethymno, Reykjavik, Rhineland, Rhodesia, Riga, Romania, Rome, Rostov, Rotterdam,
    Rouen, Ruhr, Russia, Saigon, Saint Petersburg, Saint-Lô, Saipan, Salerno, Salzburg, San Francisco, Sardinia,
    Saudi Arabia, Savo Island, Scandinavia, Scapa Flow, Schweinfurt, Scotland, Sedan, Senegal, Serbia, Sevastopol,
    Seville, Shanghai, Siberia, Sicily, Silesia, Singapore, Slovakia, Smolensk, Sofia, Somalia, South Africa,
    South America, Southampton, Spain, Sphakia, St. Petersburg, Stalingrad, Stavanger, Stockholm, Strasbourg,
    Stuttgart, Sudan, Sudetenland, Suez, Sumatra, Sweden, Switzerland, Sydney, Syracuse, Syria, Taiwan, Tallinn,
    Taranto, Tarawa, Tehran, Tennessee, Terijoki, Texas, Thailand, Thrace, Tibet, Tinian, Tobruk, Tokyo, Toronto,
    Toulon, Tripoli, Trondheim, Truk, Tulagi, Tunis, Tunisia, Turkey, Tuscany, Uganda, Ukraine, United Kingdom,
    United States, Utah, Venezuela, Venice, Vermont, Versailles, Vichy, Vienna, Vietnam, Vilnius, Vladivostok,
    Volgograd, Wales, Warsaw, Washington, Westerplatte, Wieluń, Wisconsin, Wuhan, Yalta, Yokohama, Yugoslavia,
    Zagreb, Zaire, Zurich
""".replace("\n", "").split(",")  # fmt: skip

# past/base
IRREGULAR_PASTS = words("""
    began/begin became/become came/come fell/fall fought/fight gave/give took/take led/lead left/leave lost/lose
    won/win sank/sink struck/strike held/hold met/meet made/make wrote/write rose/rise broke/break brought/bring
    built/build sent/send spent/spend stood/stand fled/flee flew/fly drove/drive went/go got/get grew/grow knew/know
    saw/see said/say kept/keep sought/seek sold/sell bought/buy caught/catch chose/choose drew/draw ate/eat
    felt/feel found/find forgot/forget hid/hide hung/hang laid/lay lay/lie meant/mean paid/pay ran/run sang/sing
    sat/sit shot/shoot slept/sleep spoke/speak swam/swim taught/teach told/tell thought/think threw/throw
    understood/understand withdrew/withdraw overran/overrun undertook/undertake oversaw/oversee swept/sweep
    bore/bear dug/dig fed/feed lent/lend rode/ride shook/shake stole/steal swore/swear wore/wear dealt/deal
    foresaw/foresee overcame/overcome retook/retake rebuilt/rebuild clung/cling crept/creep stuck/stick awoke/awake
    travelled/travel froze/freeze bent/bend bound/bind blew/blow arose/arise forbade/forbid
""")  # fmt: skip
UNCHANGED_PASTS = words("""
    put set cut hit let shut split cost beset cast spread burst hurt quit rid shed thrust
""")  # fmt: skip
REGULAR_VERBS = words("""
    abandon abolish absorb accept accompany accuse achieve acquire acquit add adopt advance agree aim alarm allow
    amount anchor announce answer appear apply appoint approach approve arm arrange arrest arrive ask assassinate
    assault assemble assign assume attack attempt attend authorize award ban base bear believe belong besiege block
    blockade board bomb bombard burn bury bypass call cancel capitulate capture carry cause cede celebrate change
    charge claim clear close coin collapse collect combine command commence commission commit compare compete
    complete compose conclude condemn conduct confirm confuse connect conquer conscript consecrate consider consist
    construct contain continue contribute control convert convince cooperate coordinate count counter-attack cover
    crash create credit cripple criticise cross crowd crown crush damage debate debut deceive decide declare decline
    decode decorate dedicate defeat defend delay deliver demand demonstrate deny depart deploy derive describe
    design destroy detect develop devise diagnose die direct disable disappear disarm discover discuss disembark
    dismiss displace display distrust divide dominate draft drop drown earn elect embark emerge employ enable
    encircle encounter encourage end engage enjoy enter equip escape escort establish estimate evacuate exceed
    exchange execute exist expand expect expel experience explain explode exploit expose express extend face fail
    favour fear feature fire flood follow force form fortify found free function fund gain gather graduate grant
    guard guide halt hand hang happen harm head help honour hope identify ignore impose improve include increase
    inflict inform inherit insist inspect inspire intend intercept intern introduce invade invent investigate invite
    involve isolate issue jam join joke judge jump justify kill knight knock lack land last launch learn liberate
    lift link list live load locate look lower maintain manage march marry mass match measure mention merge mine
    mobilize modify move murder name need negotiate nickname nominate note number obey observe obtain occupy occur
    offer open operate oppose order organise organize originate outclass overlook overwhelm owe own parachute
    paralyse park participate pass penetrate perform permit persuade photograph pilot pin place plan play pledge
    point poison position possess postpone praise predict prefer premiere prepare present preserve preside press
    prevent proclaim produce promise promote propose protect prove provide publish pull punish pursue push question
    raid raise reach realize rebel recall recapture receive recognize recommend reconquer record recover reduce
    refer refuse regain regard reign reinforce reject relate release relieve rely remain remember remove rename
    reopen repair repeat replace reply report represent reprimand repulse request rescue resign resist resolve
    respond restore result resume retain retire retreat return reveal review roll ruin rule sail save scatter score
    scramble scuttle seal search secure seem seize select sentence separate serve settle shape share shell shelter
    ship show sight sign skip slope slow solve sound spot squeeze stage star start starve state station stay stop
    store storm strengthen study submit succeed suffer suggest supervise supply support suppose surpass surprise
    surrender surround survive suspend sustain target tend test testify threaten torpedo total touch tow train
    transfer transform translate transport trap travel treat trigger try turn unite urge use value view visit
    volunteer vote wait walk want warn watch weaken weigh welcome widen wish witness work wound wreck yield
""")  # fmt: skip

# Their past tense doubles the last letter: "shipped".
DOUBLING_VERBS = words("""
    ban commit compel control drop equip excel expel jam knit occur overlap permit pin plan prefer propel rebel refer
    rub ship spot stop strip submit tip transfer transmit trap trim
""")  # fmt: skip
IRREGULAR_PARTICIPLES = words("""
    become been begun born borne bought broken brought built cast caught chosen come cut drawn driven dug fallen
    flown fought found given gone grown held hidden hit kept known laid led left lost made met overrun paid put
    rebuilt retaken risen run said seen sent set shot shut sold sought spent split spoken spread struck sunk sworn
    taken taught thought thrown told understood undertaken withdrawn won worn written
""")  # fmt: skip
