/**
 * Every method name of the Bot API, and a plausible answer for those that need no state.
 * Source: tdlib/telegram-bot-api Client::init_methods, and the public list of methods for the newer ones.
 */

const NAMES = `getMe logOut close getUpdates setWebhook deleteWebhook getWebhookInfo sendMessage forwardMessage
forwardMessages copyMessage copyMessages sendPhoto sendAudio sendDocument sendVideo sendAnimation sendVoice sendVideoNote
sendPaidMedia sendMediaGroup sendLocation sendVenue sendContact sendPoll sendChecklist sendDice sendGame sendInvoice
sendSticker sendMessageDraft sendChatAction sendGift setMessageReaction getUserProfilePhotos getUserProfileAudios
setUserEmojiStatus getFile banChatMember kickChatMember unbanChatMember restrictChatMember promoteChatMember
setChatAdministratorCustomTitle setChatMemberTag banChatSenderChat unbanChatSenderChat setChatPermissions
exportChatInviteLink createChatInviteLink editChatInviteLink createChatSubscriptionInviteLink
editChatSubscriptionInviteLink revokeChatInviteLink approveChatJoinRequest declineChatJoinRequest setChatPhoto
deleteChatPhoto setChatTitle setChatDescription pinChatMessage unpinChatMessage unpinAllChatMessages leaveChat getChat
getChatAdministrators getChatMemberCount getChatMembersCount getChatMember setChatStickerSet deleteChatStickerSet
getForumTopicIconStickers createForumTopic editForumTopic closeForumTopic reopenForumTopic deleteForumTopic
unpinAllForumTopicMessages editGeneralForumTopic closeGeneralForumTopic reopenGeneralForumTopic hideGeneralForumTopic
unhideGeneralForumTopic unpinAllGeneralForumTopicMessages answerCallbackQuery getUserChatBoosts getBusinessConnection
setMyCommands deleteMyCommands getMyCommands setMyName getMyName setMyDescription getMyDescription
setMyShortDescription getMyShortDescription setMyProfilePhoto removeMyProfilePhoto setChatMenuButton getChatMenuButton
setMyDefaultAdministratorRights getMyDefaultAdministratorRights getAvailableGifts giftPremiumSubscription verifyUser
verifyChat removeUserVerification removeChatVerification readBusinessMessage deleteBusinessMessages
setBusinessAccountName setBusinessAccountUsername setBusinessAccountBio setBusinessAccountProfilePhoto
removeBusinessAccountProfilePhoto setBusinessAccountGiftSettings getBusinessAccountStarBalance
transferBusinessAccountStars getBusinessAccountGifts getUserGifts getChatGifts convertGiftToStars upgradeGift
transferGift postStory repostStory editStory deleteStory editMessageText editMessageCaption editMessageMedia
editMessageLiveLocation stopMessageLiveLocation editMessageChecklist editMessageReplyMarkup stopPoll
approveSuggestedPost declineSuggestedPost deleteMessage deleteMessages getStickerSet getCustomEmojiStickers
uploadStickerFile createNewStickerSet addStickerToSet setStickerPositionInSet deleteStickerFromSet replaceStickerInSet
setStickerEmojiList setStickerKeywords setStickerMaskPosition setStickerSetTitle setStickerSetThumb
setStickerSetThumbnail setCustomEmojiStickerSetThumbnail deleteStickerSet answerInlineQuery answerWebAppQuery
savePreparedInlineMessage createInvoiceLink answerShippingQuery answerPreCheckoutQuery getMyStarBalance
getStarTransactions refundStarPayment editUserStarSubscription setPassportDataErrors setGameScore getGameHighScores
sendCustomRequest answerCustomQuery`;

/** Lower case, as the server compares them. */
export const METHODS: ReadonlySet<string> = new Set(NAMES.toLowerCase().split(/\s+/));

const FIXED: Record<string, unknown> = {
  getuserprofilephotos: { total_count: 0, photos: [] },
  getchatadministrators: [],
  getchatmembercount: 2,
  getchatmemberscount: 2,
  getforumtopiciconstickers: [],
  getcustomemojistickers: [],
  getuserchatboosts: { boosts: [] },
  getmyname: { name: 'Sandbox bot' },
  getmydescription: { description: '' },
  getmyshortdescription: { short_description: '' },
  getchatmenubutton: { type: 'default' },
  getavailablegifts: { gifts: [] },
  getmystarbalance: { amount: 0 },
  getbusinessaccountstarbalance: { amount: 0 },
  getstartransactions: { transactions: [] },
  getgamehighscores: [],
  exportchatinvitelink: 'https://t.me/+sandbox',
  createinvoicelink: 'https://t.me/$sandbox',
};

/** The result of a known method that changes nothing here: a fixed value, or `true`. */
export function fixedResult(method: string): unknown {
  return FIXED[method] ?? true;
}
